"""Process in which a benchmark times an exported classifier: `infer BATCH`.

Argument: a JSON dict of `runtime` (see `tpu_utils.model_formats.RUNTIMES`), `path` of the file or
folder, and `batch_sizes`. The file is read as by `predict --runtime`.
"""
import json
import os
import sys
from collections.abc import Sequence

from tpu_utils.benchmarking import peer_process
from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)


def main(runtime: str, path: str, batch_sizes: Sequence[int]) -> None:
  """Serves the inference of a file until standard input ends.

  Raises:
    ValueError: the runtime cannot run the file.
  """
  import numpy as np

  from tpu_utils.export import saved_model
  from tpu_utils.image_jobs import runtimes

  choice = runtimes.choose(path, runtime)
  own = choice.format == 'saved_model'
  program = saved_model.load(choice.path, {}) if own else runtimes.load(choice)
  images = np.random.default_rng(0).uniform(0, 255, (max(batch_sizes), *program.image_shape))
  images = images.astype(np.float32)
  commands = {
    f'infer {size}': lambda size=size: program.predict(images[:size]) for size in batch_sizes
  }
  peer_process.serve(commands)


if __name__ == '__main__':
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  main(**json.loads(sys.argv[1]))
