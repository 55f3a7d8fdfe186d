"""Writes five small sets of pictures to fine-tune on, from packages, without a download.

  pip install easy-vqa; apt-get install dataset-fashion-mnist tuxpaint-stamps-default
  python -m tests.efficientnet.five_sets FOLDER

photographs: crops of scikit-learn's and scikit-image's; no part of a photograph is both in training
and in validation. fashion: Fashion-MNIST (Debian's dataset-fashion-mnist). shapes: the pictures of
easy-vqa by shape. stamps: Tux Paint's, by the six largest folders; training and validation share no
subfolder's files. digits: scikit-learn's.
"""
import argparse
import gzip
import hashlib
import importlib.util
import json
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image

PART_SIZE = {'train': 160, 'validation': 200}
Pictures = Iterator[tuple[str, str, Image.Image]]  # (part, class, picture).


def photographs(train: int = 20, validation: int = 25) -> Pictures:
  """Yields crops of photographs; each of 24 tiles of one is either for training or validation.

  Args:
    train: crops of each photograph to train on.
    validation: those to evaluate on.
  """
  import skimage.data
  import sklearn.datasets

  samples = sklearn.datasets.load_sample_images()
  found = {pathlib.Path(n).stem: i for n, i in zip(samples.filenames, samples.images, strict=True)}
  for name in ('astronaut', 'chelsea', 'coffee', 'rocket', 'retina', 'hubble_deep_field'):
    found[name] = getattr(skimage.data, name)()
  random = np.random.default_rng(0)
  rows, columns = 4, 6
  for name, image in sorted(found.items()):
    height, width = image.shape[0] // rows, image.shape[1] // columns
    tiles = random.permutation(rows * columns)
    for n in range(train + validation):
      part, choice = ('train', tiles[:10]) if n < train else ('validation', tiles[10:])
      y, x = divmod(int(choice[n % len(choice)]), columns)
      tile = image[y * height : (y + 1) * height, x * width : (x + 1) * width]
      side = int(random.integers(min(height, width) // 2, min(height, width)))
      top, left = (int(random.integers(0, size - side + 1)) for size in tile.shape[:2])
      yield part, name, Image.fromarray(tile[top : top + side, left : left + side])


def fashion(folder: pathlib.Path) -> Pictures:
  """Yields the first pictures of Fashion-MNIST's training and test files."""
  for part, prefix in (('train', 'train'), ('validation', 't10k')):
    images, labels = (
      np.frombuffer(gzip.decompress(next(folder.rglob(f'{prefix}-{kind}*.gz')).read_bytes()),
                    np.uint8)[skip:]
      for kind, skip in (('images', 16), ('labels', 8))
    )  # fmt: skip
    for image, label in zip(images.reshape(-1, 28, 28), labels, strict=True):
      yield part, str(label), Image.fromarray(image)


def shapes(folder: pathlib.Path) -> Pictures:
  """Yields pictures of easy-vqa by the shape that its questions ask for."""
  for part, name in (('train', 'train'), ('validation', 'test')):
    questions = json.loads((folder / name / 'questions.json').read_text())
    answers = {n: a for _, a, n in questions if a in ('circle', 'rectangle', 'triangle')}
    for number, shape in answers.items():
      yield part, shape, Image.open(folder / name / 'images' / f'{number}.png')


def stamps(folder: pathlib.Path) -> Pictures:
  """Yields stamps on white, chosen by checksum of their subfolder; half of them for training."""
  paths: dict[str, list[pathlib.Path]] = {}
  for path in folder.rglob('*.png'):
    paths.setdefault(path.relative_to(folder).parts[0], []).append(path)
  for name in sorted(paths, key=lambda name: (-len(paths[name]), name))[:6]:
    for path in sorted(paths[name], key=lambda p: hashlib.sha256(p.name.encode()).digest()):
      group = '/'.join(path.relative_to(folder).parts[:-1]) + path.stem[:6]
      digest = hashlib.sha256(group.encode()).digest()
      image = Image.open(path).convert('RGBA')
      flat = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
      yield ('train', 'validation')[digest[0] % 2], name, flat


def digits() -> Pictures:
  """Yields scikit-learn's digits, enlarged from 8 to 64 pixels."""
  import sklearn.datasets

  data = sklearn.datasets.load_digits()
  for n, (image, label) in enumerate(zip(data.images, data.target, strict=True)):
    picture = Image.fromarray(np.uint8(image * 15.9)).resize((64, 64), Image.Resampling.BICUBIC)
    yield 'train' if n < len(data.target) // 2 else 'validation', str(label), picture


def write(
  pictures: Pictures, folder: pathlib.Path, part_size: Mapping[str, int] = PART_SIZE
) -> dict[str, int]:
  """Writes pictures as folder/PART/CLASS/N.png, of each class equally many.

  Args:
    pictures: those to choose from.
    folder: where to write.
    part_size: {part: number of pictures, at most}.

  Returns:
    {part: number of pictures}.
  """
  kept: dict[str, dict[str, list[Image.Image]]] = {part: {} for part in part_size}
  for part, name, picture in pictures:
    kept[part].setdefault(name, []).append(picture)
  counts = dict.fromkeys(part_size, 0)
  for part, classes in kept.items():
    for name, found in classes.items():
      (folder / part / name).mkdir(parents=True, exist_ok=True)
      for n, picture in enumerate(found[: part_size[part] // len(classes)]):
        picture.convert('RGB').save(folder / part / name / f'{n:03d}.png')
        counts[part] += 1
  return counts


def main() -> None:
  """Writes the sets to the folder of the command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('folder', type=pathlib.Path)
  easy_vqa = importlib.util.find_spec('easy_vqa')
  parser.add_argument(
    '--easy_vqa', help='folder data/ of easy-vqa, if the package is elsewhere',
    default=f'{easy_vqa.submodule_search_locations[0]}/data' if easy_vqa else '',
  )  # fmt: skip
  parser.add_argument('--fashion', default='/usr/share/datasets')
  parser.add_argument('--stamps', default='/usr/share/tuxpaint/stamps')
  options = parser.parse_args()
  sets = {
    'photographs': photographs(),
    'fashion': fashion(pathlib.Path(options.fashion)),
    'shapes': shapes(pathlib.Path(options.easy_vqa)),
    'stamps': stamps(pathlib.Path(options.stamps)),
    'digits': digits(),
  }
  for name, pictures in sets.items():
    print(name, write(pictures, options.folder / name))


if __name__ == '__main__':
  main()
