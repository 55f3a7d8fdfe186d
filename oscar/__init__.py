"""OSCAR (arXiv 2004.06165): object tags as anchor points between words and image regions.

    import oscar
    config = oscar.OscarConfig.base(num_contrast_classes=3)
    model = oscar.build_model(config, 'pretrain')    # dict of inputs -> dict of outputs
    tokenizer = oscar.Tokenizer('vocab.txt')
    predictor = oscar.load('runs/vqa/export', detector='runs/scenes')
    predictor.answer('scene.png', 'what colour is the seven?').answer

Importing the package is cheap: the first use of a name below imports TensorFlow, so that the
scripts can answer `--help` at once.
"""
from tpu_utils import lazy
from tpu_utils.weights.name_map import register

__all__ = ['OscarConfig', 'Tokenizer', 'build_model', 'load']

__getattr__, __dir__ = lazy.attach(
  __name__,
  {
    'OscarConfig': 'config',
    'Tokenizer': 'tokenization',
    'build_model': 'modeling',
    'load': 'predicting.loading',
  },
)

register('oscar', 'oscar.checkpoint_names')
