"""Loads a checkpoint of any format into a model: every variable exactly once, or none.

A format has a reader, a module here with

    matches(path) -> bool                       # does this path look like that format?
    read(path, use_ema) -> Mapping[str, array]  # the tensors by name, without training state

and a model's `NameMap` has the names of its variables in the files of each program.
"""
from __future__ import annotations

import dataclasses
import functools
import importlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tpu_utils import files
from tpu_utils.names import check_name
from tpu_utils.weights import copies, locate
from tpu_utils.weights.assign import Report, assign
from tpu_utils.weights.name_map import Rule, name_map_of

if TYPE_CHECKING:
  import keras

# Format -> module of its reader, in the order in which `auto` tries them.
READERS = {
  'checkpoint': 'tpu_utils.weights.own_checkpoints',
  'tf1': 'tpu_utils.weights.tf1',
  'keras': 'tpu_utils.weights.keras_files',
  'torch': 'tpu_utils.weights.torch_files',
  't7': 'tpu_utils.weights.t7',
}
# Between the parts of names, in formats whose files often hold more than the network.
_SEPARATORS = {'torch': '.', 'keras': '/'}
# The formats of our own programs: files with our own variable paths fit any model.
_OWN_FORMATS = ('checkpoint', 'keras')


def load(
  model: keras.Model,
  path: str | os.PathLike[str],
  source: str = 'auto',
  use_ema: bool = True,
  keep_initial: Iterable[str] = (),
  allow_missing: Iterable[str] = (),
  allow_unused: Iterable[str] = (),
  reinit_on_mismatch: Iterable[str] = (),
) -> Report:
  """Loads a checkpoint of this or another program into a model.

  Without the last four arguments, the file and the model must have the same variables, with these
  exceptions: a model that was built without a classifier ignores the file's; and torch's and Keras'
  files may hold the network inside another one, with other tensors beside it, and with a classifier
  of any name if that is the only other layer. The report lists what was left out.

  Arrays are read only after all shapes have been compared with the model's.

  Args:
    model: a built `keras.Model`; its name selects the `NameMap`.
    path: the checkpoint: a file, a TF1 prefix (`.../model.ckpt-350000`), or a folder with a TF1
      `checkpoint` file (such as --model_dir of a job) or with Hugging Face's `model.safetensors` or
      `pytorch_model.bin`.
    source: a format (key of `READERS`), another source of the model's `NameMap`, or 'auto' to
      recognise the format of the file.
    use_ema: whether to load moving averages, in formats with both averages and raw weights. A file
      without averages is then an error: raw weights never replace them.
    keep_initial: path prefixes of variables to leave as initialised ('head_dense/').
    allow_missing: path prefixes of layers to leave as initialised if the file has none of their
      variables.
    allow_unused: prefixes of names in the file that the model need not have.
    reinit_on_mismatch: path prefixes of layers to leave as initialised if the file's variables for
      them are missing or have other shapes.

  Returns:
    A `Report` of the variables.

  Raises:
    FileNotFoundError: there is nothing at `path`.
    ValueError: the source is unknown, the file cannot be read, or names or shapes do not match; the
      message lists what is missing, unexpected and wrong-shaped. The model is then unchanged.
  """
  path = os.fspath(path)
  with copies.readable(path) as file:
    report = _load(
      model, file, source, use_ema, keep_initial, allow_missing, allow_unused, reinit_on_mismatch
    )
  return dataclasses.replace(report, path=path)


def _load(
  model, path, source, use_ema, keep_initial, allow_missing, allow_unused, reinit_on_mismatch
):
  """Loads from a path at which the readers find the weights; see `load`."""
  name_map = name_map_of(model)
  formats = _formats(name_map)
  if source == 'auto':
    source = _recognise(path, formats)
  check_name('source', source, formats)
  reader = importlib.import_module(READERS[formats[source]])
  content = reader.read(path, use_ema=use_ema and name_map.moving_averages)
  names = name_map.sources.get(source)
  tensors = _weights_in(content, names)
  rules_of = functools.partial(_rules, model, source, names, path)
  if formats[source] in _SEPARATORS:
    optional = (*keep_initial, *allow_missing, *reinit_on_mismatch)
    tensors, rules, beside = locate.locate(
      model,
      tensors,
      _file_names(model, name_map, names, rules_of, _SEPARATORS[formats[source]]),
      path,
      optional,
      tuple(allow_unused),
    )
    allow_unused = (*allow_unused, *beside)
  else:
    rules = rules_of(list(tensors))
  if names and names.check:
    names.check(model, path, list(tensors))
  scaling = names.normalization(content, path) if names and names.normalization else None
  notice = names.notice(content, path) if names and names.notice else ''
  report = assign(
    model,
    rules,
    tensors,
    path,
    keep_initial,
    allow_missing,
    (*allow_unused, *_names_of_omitted_classifier(model, name_map)),
    reinit_on_mismatch,
  )
  remarks = [_normalise(model, scaling)] if scaling else []
  return dataclasses.replace(report, remark=' '.join([*remarks, *filter(None, [notice])]))


def classifier_of(model: keras.Model) -> str:
  """Returns the path prefix of a model's classifier, for `keep_initial` and `reinit_on_mismatch`.

  Raises:
    ValueError: the model is not an image classifier.
  """
  classifier = name_map_of(model).classifier
  if classifier is None:
    raise ValueError(f'{model.name} has no classifier of images whose weights could be left out.')
  return classifier


def _formats(name_map):
  """Returns {source: format} for a model, in the order in which `auto` tries them."""
  formats = {name: name for name in READERS if name in _OWN_FORMATS or name in name_map.sources}
  return formats | {name: source.format or name for name, source in name_map.sources.items()}


def _recognise(path, formats):
  for source, file_format in formats.items():
    if importlib.import_module(READERS[file_format]).matches(path):
      return source
  if not files.exists(path):
    raise FileNotFoundError(
      f'{path}: no checkpoint there, neither a file, a folder nor a TF1 prefix.'
    )
  raise ValueError(
    f'{path}: cannot tell which program wrote this; name it, source= one of: {", ".join(formats)}.'
  )


def _weights_in(content, names):
  """Returns the weights among the tensors of a file, under the names that rules expect."""
  buffers = names.buffers if names else ()
  if any(name.endswith(buffers) for name in content):
    content = {name: content[name] for name in content if not name.endswith(buffers)}
  return names.prepare(content) if names and names.prepare else content


def _file_names(model, name_map, names, rules_of, separator):
  """Returns the `locate.Names` of a file."""
  return locate.Names(
    rules_of,
    separator,
    network=names.network if names else (),
    classifier=name_map.classifier,
    classifier_names=name_map.classifier_names(model) if name_map.classifier_names else (),
  )


def _rules(model, source, names, path, found):
  """Returns the rules for a file with the names `found`: our own names, or the source's."""
  paths = [variable.path for variable in model.weights]
  if source in _OWN_FORMATS and any(p in found for p in paths):
    return {p: Rule(p) for p in paths}
  if names is None:
    raise ValueError(
      f'{path} does not fit {model.name}: it has none of the {len(paths)} variables, nothing was '
      f'loaded; they are called like {paths[0]}. Build the model that the file was saved from.'
    )
  return names.rules(model, found)


def _names_of_omitted_classifier(model, name_map):
  """Returns prefixes of the classifier's names in files, if the model was built without one."""
  classifier = name_map.classifier
  if classifier is None or any(v.path.startswith(classifier) for v in model.weights):
    return ()
  return (classifier, *name_map.classifier_names(model))


def _normalise(model, scaling):
  """Sets the model's image scaling to the file's; returns a sentence for the report."""
  mean_rgb, stddev_rgb = scaling
  layer = model.get_layer('normalization')
  layer.scale = [1.0 / s for s in stddev_rgb]
  layer.offset = [-m / s for m, s in zip(mean_rgb, stddev_rgb, strict=True)]
  # Functions that Keras has already traced contain the old numbers.
  model.predict_function = model.test_function = model.train_function = None
  mean, stddev = (', '.join(f'{x:.6g}' for x in values) for values in scaling)
  return f'Images are normalised as the file says: mean_rgb {mean}; stddev_rgb {stddev}.'
