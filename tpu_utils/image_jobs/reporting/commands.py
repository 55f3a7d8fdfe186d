"""Commands that use a trained model, for its report."""
import dataclasses
import importlib.util
import os
import shlex


@dataclasses.dataclass(frozen=True)
class Command:
  """A command.

  Attributes:
    purpose: what it does, as a title.
    text: to paste into a shell, or into Python.
    language: 'sh' or 'python'.
  """

  purpose: str
  text: str
  language: str = 'sh'


def commands(
  package: str, model_dir: str, export_dir: str | None, saved_model: bool = True
) -> list[Command]:
  """Returns the commands for a job.

  Args:
    package: of the paper's scripts, such as 'efficientnet'; empty for none.
    model_dir: folder of the job.
    export_dir: folder of its exported model; None if there is none.
    saved_model: whether there is a SavedModel in it.
  """
  found = _script_commands(package, model_dir, export_dir) if package else []
  shown = f'tensorboard --logdir={shlex.quote(model_dir)}'
  found.append(Command('Curves and images in TensorBoard', shown))
  if export_dir is not None and saved_model:
    found.append(Command('Use it in Python', _python(export_dir), 'python'))
  return found


def _script_commands(package, model_dir, export_dir):
  job, exported = shlex.quote(model_dir), shlex.quote(export_dir or 'exported')
  found = [
    Command(
      'Classify photographs', f'python -m {package}.eval_ckpt_main --ckpt_dir={job} photo.jpg'
    )
  ]
  if _has(f'{package}.predict'):
    model = f'--ckpt_dir={job}' if export_dir is None else f'--export_dir={exported}'
    found.append(
      Command(
        'Classify a folder of photographs',
        f'python -m {package}.predict {model} FOLDER --output=out.csv',
      )
    )
  if export_dir is None:
    found.append(
      Command(
        'Export the model', f'python -m {package}.export_model --ckpt_dir={job} '
        f'--output_saved_model_dir={exported}',
      )
    )  # fmt: skip
  found.append(
    Command(
      'Convert to TFLite, in every precision, and compare the accuracy',
      f'python -m {package}.export_model --ckpt_dir={job} '
      f'--output_tflite={shlex.quote(os.path.join(model_dir, "tflite", "model.tflite"))} '
      '--tflite_variants=all',
    )
  )
  if _has(f'{package}.cam'):
    found.append(
      Command('See where it looks', f'python -m {package}.cam --ckpt_dir={job} photo.jpg')
    )
  return found


def _python(export_dir):
  return (
    'import tensorflow as tf\n\n'
    f'model = tf.saved_model.load({export_dir!r})\n'
    "files = [open('photo.jpg', 'rb').read()]\n"
    "outputs = model.signatures['image_bytes'](image_bytes=tf.constant(files))\n"
    "print(outputs['classes'], outputs['probabilities'])"
  )


def _has(module):
  return importlib.util.find_spec(module) is not None
