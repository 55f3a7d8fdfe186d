"""Where images come from: data sets of several kinds of storage, all read in the same way."""
from tpu_utils import lazy

__getattr__, __dir__ = lazy.attach(__name__, {'open_dataset': 'opening'})
