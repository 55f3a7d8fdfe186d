"""Code shared by the three papers: trainer, optimizers, checkpoints, image input, weight readers.

Nothing here imports a paper's package. The submodules load on first use.
"""
from tpu_utils import lazy
from tpu_utils.version import __version__ as __version__

__all__ = ['profile', 'weights']

__getattr__, __dir__ = lazy.attach(__name__, {'profile': 'profile', 'weights': 'weights'})
