"""Image data sets in several kinds of storage, all read through one interface (`interface.py`)."""
from tpu_utils import lazy

__getattr__, __dir__ = lazy.attach(__name__, {'open_dataset': 'opening'})
