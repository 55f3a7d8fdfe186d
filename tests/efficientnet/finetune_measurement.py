"""Measures the recipe `finetune` against those of keras.applications' guide and of timm.

  python -m tests.efficientnet.finetune_measurement --sets=photos,digits --seeds=1

Five small sets of pictures that need no download: crops of the photographs in scikit-learn and
scikit-image; its digits; Fashion-MNIST (Debian's dataset-fashion-mnist); the pictures of the pip
package easy-vqa, by shape; Tux Paint's stamps (Debian's tuxpaint-stamps-default), by folder. Each
is fine-tuned from the ImageNet weights of EfficientNet-Lite0 with the same split; the top-1
accuracy on the held-out images is printed, and added to --output. All of it takes hours.
"""
import argparse
import contextlib
import gzip
import io
import json
import pathlib
import shutil
import tempfile
import time

import numpy as np
from PIL import Image

MODEL = 'efficientnet-lite0'
# Defaults of timm's train.py, for as many epochs as ours.
TIMM = (
  '--recipe=imagenet', '--optimizer=momentum', '--nesterov', '--base_learning_rate=0.1',
  '--lr_schedule=cosine', '--lr_warmup_epochs=5', '--label_smoothing=0.1', '--weight_decay=2e-5',
  '--moving_average_decay=0', '--nouse_bfloat16', '--notranspose_input',
)  # fmt: skip


def photos(count):
  """Yields (class, PIL image): crops of photographs."""
  import skimage.data
  import sklearn.datasets

  samples = sklearn.datasets.load_sample_images()
  found = {pathlib.Path(n).stem: i for n, i in zip(samples.filenames, samples.images, strict=True)}
  for name in ('astronaut', 'chelsea', 'coffee', 'rocket', 'retina', 'hubble_deep_field'):
    found[name] = getattr(skimage.data, name)()
  generator = np.random.default_rng(0)
  for n in range(count):
    name = sorted(found)[n % len(found)]
    height, width = generator.integers(64, 192, 2)
    y = generator.integers(0, found[name].shape[0] - height)
    x = generator.integers(0, found[name].shape[1] - width)
    yield name, Image.fromarray(found[name][y : y + height, x : x + width])


def digits(count):
  """Yields scikit-learn's digits."""
  import sklearn.datasets

  data = sklearn.datasets.load_digits()
  for image, label in zip(data.images[:count], data.target, strict=False):
    yield str(label), Image.fromarray(np.uint8(image * 15.9)).resize((64, 64))


def fashion(count, folder='/usr/share/datasets/fashion-mnist'):
  """Yields pictures of Fashion-MNIST."""
  paths = [next(pathlib.Path(folder).rglob(f'train-{kind}*.gz')) for kind in ('images', 'labels')]
  images, labels = (
    np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)[skip:]
    for path, skip in zip(paths, (16, 8), strict=True)
  )
  for image, label in zip(images.reshape(-1, 28, 28)[:count], labels, strict=False):
    yield str(label), Image.fromarray(image)


def shapes(count):
  """Yields pictures of easy-vqa, by shape."""
  import easy_vqa

  folder = pathlib.Path(easy_vqa.__file__).parent / 'data' / 'train'
  questions = json.loads((folder / 'questions.json').read_text())
  answers = {n: a for _, a, n in questions if a in ('circle', 'rectangle', 'triangle')}
  for number, shape in list(answers.items())[:count]:
    yield shape, Image.open(folder / 'images' / f'{number}.png')


def stamps(count, folder='/usr/share/tuxpaint/stamps'):
  """Yields Tux Paint's stamps of the six largest folders, on white."""
  paths: dict[str, list] = {}
  for path in sorted(pathlib.Path(folder).rglob('*.png')):
    paths.setdefault(path.relative_to(folder).parts[0], []).append(path)
  largest = sorted(paths, key=lambda name: -len(paths[name]))[:6]
  for name in largest:
    for path in paths[name][: -(-count // 6)]:
      image = Image.open(path).convert('RGBA')
      yield name, Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)


SETS = {'photos': photos, 'digits': digits, 'fashion': fashion, 'shapes': shapes, 'stamps': stamps}


def write(images, folder):
  """Writes pictures as folder/CLASS/N.png."""
  for n, (name, image) in enumerate(images):
    (folder / name).mkdir(parents=True, exist_ok=True)
    image.convert('RGB').save(folder / name / f'{n:05d}.png')


def job(folder, model_dir, size, seed, flags=()):
  """Runs the training script; returns its last accuracy and its flags."""
  from efficientnet import main

  with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    main.SCRIPT.call([
      f'--model_name={MODEL}', '--init_checkpoint=pretrained', f'--data_dir={folder}',
      f'--model_dir={model_dir}', f'--input_image_size={size}', f'--seed={seed}', *flags,
    ])  # fmt: skip
  last = (model_dir / 'eval' / 'results.jsonl').read_text().splitlines()[-1]
  flags = json.loads((model_dir / 'run.json').read_text())['starts'][-1]['flags']
  return json.loads(last)['top_1_accuracy'], flags


def keras_guide(folder, split, size, seed):
  """Trains as keras.io's guide on EfficientNet: the top at 1e-2, then 20 layers at 1e-5."""
  import keras

  import efficientnet

  keras.utils.set_random_seed(seed)
  classes = sorted(path.name for path in folder.iterdir())
  data: dict[bool, list] = {True: [], False: []}
  for path in sorted(folder.rglob('*.png')):
    pixels = np.asarray(Image.open(path).resize((size, size), Image.Resampling.BICUBIC))
    held = f'{path.parent.name}/{path.name}' in split
    data[held].append((np.float32(pixels), classes.index(path.parent.name)))
  (x, y), (x_eval, y_eval) = (
    [np.array(part) for part in zip(*data[held], strict=True)] for held in (False, True)
  )
  base = efficientnet.build_model(
    MODEL, image_size=size, weights='pretrained', include_top=False, pooling='avg'
  )
  base.trainable = False
  inputs = keras.Input((size, size, 3))
  z = inputs
  for layer in (
    keras.layers.RandomRotation(0.15), keras.layers.RandomTranslation(0.1, 0.1),
    keras.layers.RandomFlip(), keras.layers.RandomContrast(0.1), base,
    keras.layers.BatchNormalization(), keras.layers.Dropout(0.2),
    keras.layers.Dense(len(classes), activation='softmax'),
  ):  # fmt: skip
    z = layer(z)
  model = keras.Model(inputs, z)

  def fit(rate, epochs):
    model.compile(
      keras.optimizers.Adam(rate), 'sparse_categorical_crossentropy', metrics=['accuracy']
    )
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)

  fit(1e-2, 25)
  for layer in base.layers[-20:]:
    if not isinstance(layer, keras.layers.BatchNormalization):
      layer.trainable = True
  fit(1e-5, 4)
  return model.evaluate(x_eval, y_eval, verbose=0)[1]


def measure(folder, size, seed, recipes):
  """Yields (recipe, accuracy, seconds); all divide the images alike."""
  with tempfile.TemporaryDirectory() as place:
    run = pathlib.Path(place) / 'ours'
    start = time.monotonic()
    accuracy, flags = job(folder, run, size, seed)
    yield 'ours', accuracy, time.monotonic() - start
    start = time.monotonic()
    if 'timm' in recipes:
      names = ('train_batch_size', 'train_steps', 'steps_per_eval', 'iterations_per_loop')
      sizes = [f'--{name}={flags[name]}' for name in (*names, 'split_file', 'eval_batch_size')]
      accuracy, _ = job(folder, pathlib.Path(place) / 'timm', size, seed, (*TIMM, *sizes))
      yield 'timm', accuracy, time.monotonic() - start
    start = time.monotonic()
    if 'keras' in recipes:
      split = json.loads((run / 'split.json').read_text())['validation']
      yield 'keras', keras_guide(folder, set(split), size, seed), time.monotonic() - start


def main():
  """Runs the measurements that the command line asks for."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--sets', default=','.join(SETS), help='names with commas between')
  parser.add_argument('--recipes', default='ours,keras,timm')
  parser.add_argument('--seeds', type=int, default=3)
  parser.add_argument('--images', type=int, default=300, help='images of a set')
  parser.add_argument('--size', type=int, default=96, help='pixels a side')
  parser.add_argument('--stamps', help='folder of the stamps, if it is not where Debian has it')
  parser.add_argument('--output', help='file for JSON lines')
  options = parser.parse_args()
  for name in options.sets.split(','):
    more = {'folder': options.stamps} if name == 'stamps' and options.stamps else {}
    folder = pathlib.Path(tempfile.mkdtemp())
    write(SETS[name](options.images, **more), folder)
    for seed in range(options.seeds):
      for recipe, accuracy, seconds in measure(folder, options.size, seed, options.recipes):
        print(f'{name:8} {recipe:6} seed {seed}  {accuracy:7.2%}  {seconds:.0f} s', flush=True)
        if options.output:
          line = {'set': name, 'recipe': recipe, 'seed': seed, 'top_1': accuracy, 's': seconds}
          with open(options.output, 'a') as file:
            file.write(json.dumps(line) + '\n')
    shutil.rmtree(folder)


if __name__ == '__main__':
  main()
