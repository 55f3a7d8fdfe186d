"""Code shared by the three papers: trainer, optimizers, checkpoints, image input, weight readers.

Nothing here imports a paper's package. The submodules load on first use.
"""
from tpu_utils import lazy

__version__ = '0.1.0'  # Of all four packages; setup.py reads it here.
__all__ = ['profile', 'weights']

__getattr__, __dir__ = lazy.attach(__name__, {'profile': 'profile', 'weights': 'weights'})
