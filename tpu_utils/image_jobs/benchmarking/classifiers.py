"""Compares a classifier, in training and in each exported form, with peers in other libraries."""
import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from tpu_utils import files
from tpu_utils.benchmarking import contest, device_benchmark, machine
from tpu_utils.benchmarking import settings as shared
from tpu_utils.benchmarking.contest import Contestant, Work
from tpu_utils.benchmarking.peer_process import missing_packages
from tpu_utils.command_line import cli, settings
from tpu_utils.model_formats import FORMATS, RUNTIMES

if TYPE_CHECKING:
  import keras

KINDS = ('inference', 'training')
_FORMATS = ('saved_model', 'tflite', 'openvino', 'onnx')
_PROGRAM = 'tpu_utils.image_jobs.benchmarking.program_process'
# Of the forward pass: the gradients of inputs and of weights cost as much each.
_PASSES_OF_TRAINING = 3
_CALIBRATION_IMAGES = 8


@dataclasses.dataclass(frozen=True)
class Comparison:
  """What to compare.

  Attributes:
    image_size: pixels a side.
    build_model: function without arguments that returns the classifier, to export it.
    ours: contestant that trains it; its argument is a JSON dict, with `batch_sizes`.
    peers: their contestants, for inference and training.
    batch_size: of training, and of inference beside 1.
    rounds: turns of each contestant.
    int8: whether to time an 8-bit TFLite file, by LiteRT and by OpenVINO, too.
  """

  image_size: int
  build_model: Callable[[], 'keras.Model']
  ours: Contestant
  peers: Sequence[Contestant]
  batch_size: int
  rounds: int
  int8: bool = False

  def tables(self, kinds: Sequence[str]) -> Iterator[str]:
    """Yields the limits in words, then a Markdown table for each kind of work and batch size.

    Args:
      kinds: of `KINDS`.

    Raises:
      ValueError: one of our contestants fails.
    """
    import tensorflow as tf

    from tpu_utils import profile

    limits = machine.measure_limits(product=lambda a, b: tf.matmul(a, b).numpy())
    yield f'{limits.text}.'
    model = self.build_model()
    multiply_adds = profile.flops(model)
    if 'inference' in kinds:
      yield from self._inference(model, multiply_adds, limits)
    if 'training' in kinds:
      size = self.batch_size
      work = Work(
        f'Training step, batch {size}', f'train {size}', size, 'images',
        _PASSES_OF_TRAINING * size * multiply_adds,
      )  # fmt: skip
      with contest.Contest([self.ours, *self.peers]) as held:
        yield contest.table(work, held.hold(work.command, self.rounds), limits)

  def _inference(self, model, multiply_adds, limits):
    with tempfile.TemporaryDirectory() as folder:
      sizes = batch_sizes(self.batch_size)
      programs = exported(model, os.path.join(folder, 'export'), sizes)
      if self.int8:
        programs += in_int8(model, folder, sizes)
      with contest.Contest([*programs, *self.peers]) as held:
        for size in sizes:
          work = Work(
            f'Inference, batch {size}', f'infer {size}', size, 'images', size * multiply_adds
          )
          yield contest.table(work, held.hold(work.command, self.rounds), limits)


def run(
  resolved: settings.Resolved,
  suite: device_benchmark.Suite,
  comparison: Callable[..., Comparison],
) -> None:
  """Times a paper's classifier on JAX, as its work grows, or against its peers; prints a report.

  Args:
    resolved: the paper's settings, with `model_name`, `image_size` and `kinds()`, the
      `ContestConfig` and the `DeviceConfig`.
    suite: of the benchmark on JAX.
    comparison: function(the paper's settings, `ContestConfig`, interpreter with torch or None) ->
      the `Comparison`; called after TensorFlow is imported.

  Raises:
    ValueError: one of our contestants fails.
    OSError: the report cannot be written.
  """
  config, options, device = resolved
  if device.backend == 'jax':
    device_benchmark.run(device, suite, options.rounds, config.image_size)
    return
  cli.import_tensorflow()
  compared = comparison(config, options, device.torch_python or None)
  if options.growth:
    from tpu_utils.image_jobs.benchmarking import growth_report

    ours, title = compared.ours, f'Growth, {config.model_name}'
    arguments = json.loads(ours.arguments[0])
    print(growth_report.report(title, ours.module, arguments, options.output_dir))
    return
  head = (
    f'## {config.model_name}, {compared.image_size} pixels\n\n{shared.heading()} '
    f'Medians of {options.rounds} rounds.'
  )
  shared.write_report(head, compared.tables(config.kinds()), options.output_dir)


def batch_sizes(batch_size: int) -> list[int]:
  """Returns the batch sizes of inference: the given one and 1."""
  return [batch_size, 1] if batch_size > 1 else [1]


def exported(model: 'keras.Model', folder: str, sizes: Sequence[int]) -> list[Contestant]:
  """Exports a model in each format whose packages are installed.

  Args:
    model: classifier.
    folder: an empty local folder.
    sizes: batch sizes.

  Returns:
    A contestant for each format, the SavedModel first; those without packages among them.
  """
  import tensorflow as tf

  from tpu_utils import export

  formats = [name for name in _FORMATS if not missing_packages(FORMATS[name].packages)]
  shape = model.inputs[0].shape[1:3]

  def preprocess(contents):
    return tf.image.resize(tf.io.decode_jpeg(contents, 3), shape)

  export.export(model, folder, preprocess, {}, formats=formats)
  contestants = []
  for name in _FORMATS:
    runtime = FORMATS[name].runtime
    settings = {'runtime': runtime, 'path': folder, 'batch_sizes': sizes}
    contestants.append(
      Contestant(
        f'ours: {FORMATS[name].title} by {RUNTIMES[runtime].title}',
        _PROGRAM,
        (json.dumps(settings),),
        FORMATS[name].packages,
        f"pip install '.[{FORMATS[name].extra}]'",
      )
    )
  return contestants


def in_int8(model: 'keras.Model', folder: str, sizes: Sequence[int]) -> list[Contestant]:
  """Writes a model as a TFLite file in 8 bits, with ranges from noise, for LiteRT and OpenVINO.

  Args:
    model: classifier.
    folder: a local folder.
    sizes: batch sizes.
  """
  import numpy as np

  from tpu_utils.export import tflite

  shape = (_CALIBRATION_IMAGES, *model.inputs[0].shape[1:])
  noise = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
  path = os.path.join(folder, 'int8.tflite')
  files.write_bytes(path, tflite.convert(model, 'int8', list(noise)))
  return [
    Contestant(
      f'ours, int8: TFLite file by {RUNTIMES[runtime].title}',
      _PROGRAM,
      (json.dumps({'runtime': runtime, 'path': path, 'batch_sizes': sizes}),),
      RUNTIMES[runtime].packages,
      f"pip install '.[{runtime}]'",
    )
    for runtime in ('litert', 'openvino')
  ]


def torch_contestants(
  library: str, module: str, network: str, batch_size: int, image_size: int, python: str | None
) -> list[Contestant]:
  """Returns a network in torch in each of its variants.

  Args:
    library: 'timm' or 'torchvision'.
    module: program that serves it; see `torch_process.serve`.
    network: name there.
    batch_size: as of `Comparison`.
    image_size: pixels a side.
    python: interpreter with torch; None for the current one.
  """
  settings = {
    'network': network, 'batch_sizes': batch_sizes(batch_size), 'image_size': image_size
  }
  return [
    Contestant(
      f'{library}, {text}', module, (json.dumps(settings | {'variant': variant}),),
      ('torch', library), python=python,
    )
    for variant, text in (
      ('eager', 'eager'), ('channels_last', 'channels last'), ('compiled', 'compiled'),
    )
  ]  # fmt: skip
