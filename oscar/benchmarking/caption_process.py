"""Process in which a benchmark writes captions of several lengths: `caption LENGTH`.

Argument: a JSON dict of `config` (a name or path), `lengths`, `num_beams` and `regions`.
"""
import json
import sys
from collections.abc import Sequence

from tpu_utils.benchmarking import peer_process
from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)

_CLS, _SEP, _PAD, _MASK = 101, 102, 0, 103


def main(config: str, lengths: Sequence[int], num_beams: int, regions: int) -> None:
  """Serves one image's caption, with random weights, which do not end it early."""
  import numpy as np
  import tensorflow as tf

  import oscar
  from oscar import decoding, modeling

  settings = oscar.OscarConfig.from_name(config)
  model = modeling.build_model(settings, 'captioning', tie_weights=True)
  features = np.random.default_rng(0).random((1, regions, settings.img_feature_dim), np.float32)

  def caption(length):
    mask = np.zeros((1, length + regions, length + regions), np.int32)
    mask[:, :length, :length] = np.tril(np.ones((length, length)))
    mask[:, :, length:] = 1
    inputs = {
      'input_ids': np.zeros((1, length), np.int32),
      'token_type_ids': np.zeros((1, length), np.int32),
      'attention_mask': mask,
      'img_feats': features,
    }
    tensors = {name: tf.constant(array) for name, array in inputs.items()}
    options = decoding.GenerationConfig(
      _CLS, _SEP, _PAD, _MASK, max_gen_length=length, num_beams=num_beams
    )
    generate = tf.function(lambda inputs: decoding.generate(model, inputs, options)['ids'])
    return lambda: generate(tensors).numpy()

  peer_process.serve({f'caption {length}': caption(length) for length in lengths})


if __name__ == '__main__':
  main(**json.loads(sys.argv[1]))
