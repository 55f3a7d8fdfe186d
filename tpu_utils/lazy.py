"""Package attributes that import their module on first use (PEP 562)."""
import importlib


def attach(package, attributes):
  """Returns the `__getattr__` and `__dir__` of a package whose names load on first use.

  Args:
    package: the package's `__name__`.
    attributes: {public name: submodule that defines it}; a submodule that is itself the public
      name maps to itself.

  Returns:
    (`__getattr__`, `__dir__`), to be bound at the top of the package's `__init__.py`.
  """

  def __getattr__(name):  # noqa: N807
    if name not in attributes:
      raise AttributeError(f'module {package!r} has no attribute {name!r}')
    module = importlib.import_module(f'{package}.{attributes[name]}')
    return module if attributes[name] == name else getattr(module, name)

  def __dir__():  # noqa: N807
    return sorted(attributes)

  return __getattr__, __dir__
