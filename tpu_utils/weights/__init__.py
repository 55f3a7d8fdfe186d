"""Other people's checkpoints: `load(model, path)` sets every variable of a model exactly once.

A source is a file format and the names that a program uses in it. Each format has a reader here
(`tf1.py`, ...) with

    matches(path) -> bool                       # does this path look like that format?
    read(path, use_ema) -> Mapping[str, array]  # the tensors by name, training state left out

and each paper has a module in `names/` whose `NAME_MAPS` gives, for every source it knows, a pure function
`(model, names in the file) -> {variable.path: assign.Rule}`. It may also say `BUFFERS` (ends of names in files
that are no weights), `PREPARE` ({source: function(tensors) -> tensors}, for what no rule for one variable can
say) and `MOVING_AVERAGES = False` (its programs keep none).
"""
import importlib
import os

from tpu_utils import suggest
from tpu_utils.weights import assign

# Source -> module of its reader, in the order in which `auto` tries them.
READERS = {
  'tf1': 'tpu_utils.weights.tf1',
  'torch': 'tpu_utils.weights.torch_files',
  't7': 'tpu_utils.weights.t7',
  # Torch files under the names of their makers.
  'oscar': 'tpu_utils.weights.torch_files',
  'bert': 'tpu_utils.weights.torch_files',
}

# Start of model.name -> module of its name maps. Names, not imports: tpu_utils imports no paper.
NAMES = {
  'efficientnet': 'tpu_utils.weights.names.efficientnet',
  'resnext': 'tpu_utils.weights.names.resnext',
  'resnet': 'tpu_utils.weights.names.resnext',
  'oscar': 'tpu_utils.weights.names.oscar',
}


def load(model, path, source='auto', use_ema=True, fresh=(), optional=(), unused=()):
  """Loads a checkpoint of another program into a model.

  Without the last three arguments, the file and the model must have the same variables.

  Args:
    model: a built `keras.Model` of one of the papers; its name says which.
    path: the checkpoint: a file, a TF1 prefix (`.../model.ckpt-350000`), or a folder with a TF1
      `checkpoint` file or with Hugging Face's `model.safetensors` or `pytorch_model.bin`.
    source: a key of `READERS`, or 'auto' to tell it from the file.
    use_ema: take the moving averages where the format has both them and the raw weights. When it
      has them but this file doesn't, that is an error, not a reason to take the raw ones.
    fresh: starts of paths of variables ('head_dense/') that keep their values, for a new head.
    optional: starts of paths of layers that keep theirs if the file has none of their variables.
    unused: starts of names in the file that the model need not have a place for.

  Returns:
    An `assign.Report` of what was loaded, kept and left; its text is one line.

  Raises:
    FileNotFoundError: nothing at `path`.
    ValueError: the source is not known, or names or shapes don't match; the message lists what is missing,
      unexpected and wrong-shaped. The model is then as it was.
  """
  path = os.fspath(path)
  names = _names_module(model)
  known = [name for name in READERS if name in names.NAME_MAPS]
  if source == 'auto':
    source = _recognise(path, known)
  suggest.check('source', source, known)
  use_ema = use_ema and getattr(names, 'MOVING_AVERAGES', True)
  tensors = _reader(source).read(path, use_ema=use_ema)
  buffers = getattr(names, 'BUFFERS', ())
  if any(name.endswith(buffers) for name in tensors):
    tensors = {name: tensors[name] for name in tensors if not name.endswith(buffers)}
  if source in getattr(names, 'PREPARE', ()):
    tensors = names.PREPARE[source](tensors)
  rules = names.NAME_MAPS[source](model, list(tensors))
  return assign.assign(model, rules, tensors, path, fresh, optional, unused)


def save_torch(model, path):
  """Writes a model as a torch state dict, under the names that `load` takes from such a file.

  Args:
    model: a built `keras.Model` of a paper whose names module has a `torch_state_dict`.
    path: the file to write; `.safetensors` decides for that format, else it is torch's.

  Raises:
    ValueError: torch has no names for this model, or it is needed and not installed.
  """
  names = _names_module(model)
  if not hasattr(names, 'torch_state_dict'):
    raise ValueError(f'No torch program has a model like {model.name}; save it as .keras.')
  from tpu_utils.weights import torch_files  # It needs a package that not everyone has.

  torch_files.write(path, names.torch_state_dict(model))


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
