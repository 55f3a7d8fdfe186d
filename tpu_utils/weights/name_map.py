"""Variable names in other programs' files: a `NameMap` for each family of models.

A package registers its `NameMap` when it is imported (`register`), and `load` finds it by the
model's name. `keras.models.load_model` and `clone_model` keep that name, so that their models load
such files too, once the package of the family has been imported. A model that is cut from another
needs a name with the family's prefix.
"""
from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  import keras
  import numpy as np

  Arrays = Mapping[str, np.ndarray]
  Color = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Rule:
  """The array in a file that becomes the value of a variable.

  Attributes:
    name: the array's name in the file.
    transform: function from the array to the variable's value.
    part: index of the slice, if several variables are slices of one array.
    copies: names under which a file may hold the same array again, as torch files do with tied
      variables.
  """

  name: str
  transform: Callable[[np.ndarray], np.ndarray] | None = None
  part: int | None = None
  copies: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Source:
  """The variables of a family of models in the files of one program.

  Attributes:
    rules: (model, names in the file) -> {variable.path: `Rule`}, one for each variable.
    format: format of the files, a key of `loading.READERS`; None if the source's name is one.
    prepare: tensors of the file -> tensors, for changes that no rule for one variable can express.
    buffers: suffixes of names in the file that are not weights.
    check: (model, path, names in the file); raises ValueError for a file of another network that
      has the same names.
    normalization: (tensors of the file, path) -> (mean_rgb, stddev_rgb) with which the file's
      network scales images in [0, 255], or None if the file has no scaling; raises ValueError for
      a scaling that cannot be.
    notice: (tensors of the file, path) -> a sentence on layers of the file's network that change
      its results and that no model here has, or '' if there are none.
    network: prefixes of all names in networks of this family, however large; other names are of
      layers beside the network. Empty if every name belongs to the network.
  """

  rules: Callable[[keras.Model, Collection[str]], dict[str, Rule]]
  format: str | None = None
  prepare: Callable[[Arrays], Arrays] | None = None
  buffers: tuple[str, ...] = ()
  check: Callable[[keras.Model, str, Collection[str]], None] | None = None
  normalization: Callable[[Arrays, str], tuple[Color, Color] | None] | None = None
  notice: Callable[[Arrays, str], str] | None = None
  network: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class NameMap:
  """Names of a family of models' variables in other programs' files.

  Attributes:
    sources: {source: `Source`} of the programs whose files can be read.
    moving_averages: whether these programs save moving averages of the weights.
    classifier: prefix of the paths of the classifier's variables; None if the models are no
      classifiers of images.
    classifier_names: model -> prefixes of the classifier's names in the files of all sources.
    torch_state_dict: (model, **settings) -> {name: array} for a torch program.
    tf1_names: model -> {variable.path: name} in the official TF1 program.
  """

  sources: Mapping[str, Source]
  moving_averages: bool = True
  classifier: str | None = None
  classifier_names: Callable[[keras.Model], tuple[str, ...]] | None = None
  torch_state_dict: Callable[..., dict[str, Any]] | None = None
  tf1_names: Callable[[keras.Model], dict[str, str]] | None = None


_modules: dict[str, str] = {}  # Prefix of the models' names -> module with their `NAME_MAP`.


def register(prefix: str, module: str) -> None:
  """Registers the `NameMap` for all models with names that start with `prefix`.

  Args:
    prefix: such as 'resnet'.
    module: the module that has the `NameMap` as `NAME_MAP`. It is imported when a checkpoint is
      loaded, so that importing a package stays cheap.
  """
  _modules[prefix] = module


def name_map_of(model: keras.Model) -> NameMap:
  """Returns the `NameMap` registered for a model's name.

  Raises:
    ValueError: no prefix matches the name.
  """
  for prefix, module in _modules.items():
    if model.name.startswith(prefix):
      return importlib.import_module(module).NAME_MAP
  known = f'their names start with one of: {", ".join(_modules)}' if _modules else 'there are none'
  raise ValueError(
    f'No names in files are registered for a model called {model.name!r}, only for other models '
    f'({known}). Import the package that builds such models, or give the model its name.'
  )
