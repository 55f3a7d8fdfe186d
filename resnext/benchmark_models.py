"""Process in which `resnext.benchmark` times our network, or it with Keras' grouped convolutions.

Argument: a JSON dict of `model_name`, `builtin` (whether its convolutions are Keras' own),
`image_size`, `batch_sizes` and `replicas` (null, or their number: to train on them).
"""
import json
import sys
from collections.abc import Sequence

from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)


def main(
  model_name: str,
  builtin: bool,
  image_size: int,
  batch_sizes: Sequence[int],
  replicas: int | None = None,
) -> None:
  """Serves a network's inference and training until standard input ends."""
  from resnext import resnext_builder
  from tpu_utils import export
  from tpu_utils.image_jobs.benchmarking import keras_process, replica_process

  def build():
    return resnext_builder.build_model(model_name, 1000, image_size)

  if replicas:
    replica_process.serve(build, batch_sizes, replicas)
  else:
    model = export.with_builtin_layers(build()) if builtin else build()
    keras_process.serve(model, batch_sizes, ours=not builtin)


if __name__ == '__main__':
  main(**json.loads(sys.argv[1]))
