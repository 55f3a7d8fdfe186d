"""Other people's checkpoints: `load(model, path)` sets every variable of a model exactly once.

A source is a file format and the names that a program uses in it. Each format has a reader here
(`tf1.py`, ...) with

    matches(path) -> bool                       # does this path look like that format?
    read(path, use_ema) -> Mapping[str, array]  # the tensors by name, training state left out

and each paper has a module in `names/` whose `NAME_MAPS` gives, for every source it knows, a pure function
`(model, names in the file) -> {variable.path: assign.Rule}`. It may also say

    BUFFERS = ends of names in files that are no weights
    PREPARE = {source: function(tensors) -> tensors}, for what no rule for one variable can say
    MOVING_AVERAGES = False                     # its programs keep none
    CLASSIFIER = start of the paths of the classifier, and
    classifiers(model) -> starts of its names in files of all sources
    check(model, path, source, names)           # raises where a file is for another network with the same names
    normalization(source, tensors, path)        # how the file's network scales images, or None

Files with our own names of variables (checkpoints of our jobs, exports as `.keras`) fit any paper's models.
"""
import dataclasses
import importlib
import os

from tpu_utils.names import check_name
from tpu_utils.weights import assign

# Source -> module of its reader, in the order in which `auto` tries them.
READERS = {
  'checkpoint': 'tpu_utils.weights.own_checkpoints',
  'tf1': 'tpu_utils.weights.tf1',
  'keras': 'tpu_utils.weights.keras_files',
  'torch': 'tpu_utils.weights.torch_files',
  't7': 'tpu_utils.weights.t7',
  # Torch files under the names of their makers.
  'oscar': 'tpu_utils.weights.torch_files',
  'bert': 'tpu_utils.weights.torch_files',
}
_OWN_NAMES = ('checkpoint', 'keras')  # What our own programs write.

# Start of model.name -> module of its name maps. Names, not imports: tpu_utils imports no paper.
NAMES = {
  'efficientnet': 'tpu_utils.weights.names.efficientnet',
  'resnext': 'tpu_utils.weights.names.resnext',
  'resnet': 'tpu_utils.weights.names.resnext',
  'oscar': 'tpu_utils.weights.names.oscar',
}


def load(
  model, path, source='auto', use_ema=True, fresh=(), optional=(), unused=(), replaceable=()
):
  """Loads a checkpoint of another program into a model.

  Without the last four arguments, the file and the model must have the same variables; only the classifier may
  be in the file alone, for a model that was built without one.

  Args:
    model: a built `keras.Model` of one of the papers; its name says which.
    path: the checkpoint: a file, a TF1 prefix (`.../model.ckpt-350000`), or a folder with a TF1
      `checkpoint` file (`--model_dir` of a job, too) or with Hugging Face's `model.safetensors` or
      `pytorch_model.bin`.
    source: a key of `READERS`, or 'auto' to tell it from the file.
    use_ema: take the moving averages where the format has both them and the raw weights. When it
      has them but this file doesn't, that is an error, not a reason to take the raw ones.
    fresh: starts of paths of variables ('head_dense/') that keep their values, for a new head.
    optional: starts of paths of layers that keep theirs if the file has none of their variables.
    unused: starts of names in the file that the model need not have a place for.
    replaceable: starts of paths of layers that keep their values if the file's do not fit them.

  Returns:
    An `assign.Report` of what was loaded, kept and left; its text is one line.

  Raises:
    FileNotFoundError: nothing at `path`.
    ValueError: the source is not known, or names or shapes don't match; the message lists what is missing,
      unexpected and wrong-shaped. The model is then as it was.
  """
  path = os.fspath(path)
  names = _names_module(model)
  known = [name for name in READERS if name in names.NAME_MAPS or name in _OWN_NAMES]
  if source == 'auto':
    source = _recognise(path, known)
  check_name('source', source, known)
  use_ema = use_ema and getattr(names, 'MOVING_AVERAGES', True)
  content = tensors = _reader(source).read(path, use_ema=use_ema)
  buffers = getattr(names, 'BUFFERS', ())
  if any(name.endswith(buffers) for name in content):
    tensors = {name: content[name] for name in content if not name.endswith(buffers)}
  if source in getattr(names, 'PREPARE', ()):
    tensors = names.PREPARE[source](tensors)
  if hasattr(names, 'check'):
    names.check(model, path, source, list(tensors))
  rules = _rules(model, names, source, tensors, path)
  unused = (*unused, *_classifier_left_out(model, names))
  report = assign.assign(model, rules, tensors, path, fresh, optional, unused, replaceable)
  if hasattr(names, 'normalization'):
    report = dataclasses.replace(report, remark=_normalise(model, names, source, content, path))
  return report


def _rules(model, names, source, tensors, path):
  paths = [variable.path for variable in model.weights]
  if source in _OWN_NAMES and any(p in tensors for p in paths):
    return {p: assign.Rule(p) for p in paths}
  if source not in names.NAME_MAPS:
    raise ValueError(
      f'{path} does not fit {model.name}: it has none of the {len(paths)} variables, nothing was loaded; '
      f'they are called like {paths[0]}. Build the model that the file was saved from.'
    )
  return names.NAME_MAPS[source](model, list(tensors))


def classifier_of(model):
  """Start of the paths of a model's classifier, for `fresh` and `replaceable`.

  Raises:
    ValueError: it is no classifier of images.
  """
  names = _names_module(model)
  if not hasattr(names, 'CLASSIFIER'):
    raise ValueError(f'{model.name} has no classifier of images whose weights could be left out.')
  return names.CLASSIFIER


def _classifier_left_out(model, names):
  """Starts of names that a file may have beside those of a model that was built without a classifier."""
  start = getattr(names, 'CLASSIFIER', None)
  if start is None or any(variable.path.startswith(start) for variable in model.weights):
    return ()
  return (start, *names.classifiers(model))


def _normalise(model, names, source, content, path):
  """Has the model scale images as the file's network does; returns what to say of it."""
  scaling = names.normalization(source, content, path)
  if scaling is None:
    return ''
  mean_rgb, stddev_rgb = scaling
  layer = model.get_layer('normalization')
  layer.scale = [1.0 / s for s in stddev_rgb]
  layer.offset = [-m / s for m, s in zip(mean_rgb, stddev_rgb, strict=True)]
  # What Keras traced before has the old numbers in it.
  model.predict_function = model.test_function = model.train_function = None
  mean, stddev = (', '.join(f'{x:.6g}' for x in values) for values in scaling)
  return f'Images are normalised as the file says: mean_rgb {mean}; stddev_rgb {stddev}.'


def save_torch(model, path, **settings):
  """Writes a model as a torch state dict, under the names that `load` takes from such a file.

  Args:
    model: a built `keras.Model` of a paper whose names module has a `torch_state_dict`.
    path: the file to write; `.safetensors` decides for that format, else it is torch's.
    **settings: of that function: EfficientNets have `dialect`, 'timm', 'lukemelas' or 'torchvision'.

  Raises:
    ValueError: torch has no names for this model, or it is needed and not installed.
  """
  names = _names_module(model)
  if not hasattr(names, 'torch_state_dict'):
    raise ValueError(f'No torch program has a model like {model.name}; save it as .keras.')
  from tpu_utils.weights import torch_files  # It needs a package that not everyone has.

  torch_files.write(path, names.torch_state_dict(model, **settings))


def save_tf1(model, prefix, step=0):
  """Writes a model as an official TF1 checkpoint by name, for programs that restore those.

  Every variable is there twice with the same value, as itself and as its moving average, so that programs
  that ask for the one or the other find it; and a `checkpoint` file that names this one.

  Args:
    model: a built `keras.Model` of a paper whose names module has `official_names`.
    prefix: where to write, such as 'out/model.ckpt'.
    step: value of `global_step`.

  Raises:
    ValueError: no official TF1 program has such a model.
    OSError: the files cannot be written.
  """
  names = _names_module(model)
  if not hasattr(names, 'official_names'):
    raise ValueError(f'No official TF1 program has a model like {model.name}; save it as .keras.')
  from tpu_utils.weights import tf1

  values = {variable.path: variable.numpy() for variable in model.weights}
  tensors = {name: values[path] for path, name in names.official_names(model).items()}
  tf1.write(os.fspath(prefix), tensors, step)


def _reader(source):
  return importlib.import_module(READERS[source])


def _names_module(model):
  for start, module in NAMES.items():
    if model.name.startswith(start):
      return importlib.import_module(module)
  raise ValueError(
    f'No name maps for a model called {model.name!r}; the name should start with one of: '
    f'{", ".join(NAMES)}.'
  )


def _recognise(path, sources):
  for source in sources:
    if _reader(source).matches(path):
      return source
  if not os.path.exists(path):
    raise FileNotFoundError(f'{path}: no checkpoint there, neither a file, a folder nor a TF1 prefix.')
  raise ValueError(
    f'{path}: cannot tell which program wrote this; name it, source= one of: {", ".join(sources)}.'
  )
