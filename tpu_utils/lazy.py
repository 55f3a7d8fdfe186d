"""Package attributes that import their module on first use (PEP 562)."""
import importlib
from collections.abc import Callable, Mapping


def attach(package: str, attributes: Mapping[str, str]) -> tuple[Callable, Callable]:
  """Returns a `__getattr__` and a `__dir__` that import a package's names on first use.

  Args:
    package: the package's `__name__`.
    attributes: {public name: submodule that defines it}; a public submodule maps to itself.

  Returns:
    (`__getattr__`, `__dir__`), to be assigned in the package's `__init__.py`.
  """

  def __getattr__(name):  # noqa: N807
    if name not in attributes:
      raise AttributeError(f'module {package!r} has no attribute {name!r}')
    module = importlib.import_module(f'{package}.{attributes[name]}')
    return module if attributes[name] == name else getattr(module, name)

  def __dir__():  # noqa: N807
    return sorted(attributes)

  return __getattr__, __dir__
