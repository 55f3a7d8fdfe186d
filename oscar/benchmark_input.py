"""Compares the speed of the pre-training input with the official method, in examples per second.

  python -m oscar.benchmark_input
      Generates a corpus of random captions and features in the official layout, prepares it, and
      reads it alternately with this project's input and with a loader that works as the official.

That loader repeats the official steps in plain Python and numpy, one example after the other: a row
of the TSV file, base64, a tokenizer in Python, as in microsoft/Oscar, `random`, lists, padding,
stacking into a batch. Both get one thread. Examples are counted per second of processor time, so
that other work on the machine matters less.
"""

import base64
import dataclasses
import json
import os
import random
import statistics
import tempfile
import time
import unicodedata
from collections.abc import Sequence

import numpy as np

from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting

_SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
_SEQ_LENGTH, _REGIONS, _DIM, _BATCH_SIZE = 35, 50, 2054, 64
_CAPTION_WORDS, _TAGS, _VOCABULARY = 11, 15, 30000
_BATCHES = 200  # Of this project's input per round, at least.
_PLAIN_BATCHES = 8  # Of the slower loader.


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig(settings.Checked):
  """The corpus and the number of measurements."""

  num_images: int = setting(512, 'Images of the corpus; each takes 1 MB of disk.', at_least=64)
  texts_per_image: int = setting(5, 'Documents per image; COCO has 5 captions.', at_least=1)
  rounds: int = setting(5, 'Measurements of each; the medians are printed.', at_least=1)


def make_corpus(
  folder: str | os.PathLike[str], num_images: int, texts_per_image: int, seed: int = 0
) -> None:
  """Writes a corpus of random words and features in the official layout, and its vocabulary."""
  from oscar.datasets import features, tsv

  rng = np.random.default_rng(seed)
  # Word pieces of two to eight letters, so that a word takes one or two of them.
  pieces = sorted(
    {''.join(rng.choice(list('abcdefghijklmnop'), rng.integers(2, 9))) for _ in range(_VOCABULARY)}
  )
  vocab = [*_SPECIAL, *pieces, *('##' + piece for piece in pieces[::3])]
  with open(os.path.join(folder, 'vocab.txt'), 'w', encoding='utf-8') as file:
    file.writelines(piece + '\n' for piece in vocab)
  endings = pieces[::3]

  def words(count):
    chosen = rng.choice(pieces, count)
    return ' '.join(w + rng.choice(endings) if rng.random() < 0.2 else w for w in chosen)

  paths = (
    os.path.join(folder, name) for name in ('features.tsv', 'predictions_gt.tsv', 'corpus.tsv')
  )
  regions_path, labels_path, corpus_path = paths
  with (
    tsv.TsvWriter(regions_path) as regions,
    tsv.TsvWriter(labels_path) as labels,
    tsv.TsvWriter(corpus_path) as corpus,
  ):
    for image in range(num_images):
      appearance = np.maximum(rng.standard_normal((_REGIONS, 2048)), 0)
      boxes = np.tile([10, 20, 60, 80], (_REGIONS, 1))
      rows = features.join(appearance, boxes, 640, 480)
      regions.write(image, _REGIONS, features.encode(rows))
      objects = [{'class': tag} for tag in words(_TAGS).split()]
      labels.write(image, json.dumps({'image_h': 480, 'image_w': 640, 'objects': objects}))
      for _ in range(texts_per_image):
        corpus.write(
          f'coco_train_{image}', f'coco_{image}', words(_CAPTION_WORDS).capitalize() + '.'
        )
  with open(os.path.join(folder, 'imageid2idx.json'), 'w', encoding='utf-8') as file:
    json.dump({str(image): image for image in range(num_images)}, file)
  with open(os.path.join(folder, 'train.yaml'), 'w', encoding='utf-8') as file:
    file.write('corpus: coco\ncorpus_file: corpus.tsv\n')
    file.write('image_label_path: {coco: .}\nimage_feature_path: {coco: .}\n')


class PlainLoader:
  """A loader that builds batches one example at a time, with the steps of the official one."""

  def __init__(self, folder: str | os.PathLike[str]) -> None:
    """Reads the texts of the corpus in `folder` and opens its features."""
    with open(os.path.join(folder, 'vocab.txt'), encoding='utf-8') as file:
      self._vocab = {line.rstrip('\n'): i for i, line in enumerate(file)}
    with open(os.path.join(folder, 'features.lineidx'), encoding='ascii') as file:
      self._offsets = [int(line) for line in file]
    self._file = open(os.path.join(folder, 'features.tsv'), encoding='ascii')  # noqa: SIM115
    with open(os.path.join(folder, 'predictions_gt.tsv'), encoding='utf-8') as file:
      rows = [json.loads(line.split('\t')[1]) for line in file]
    tags = [' '.join(item['class'] for item in row['objects']) for row in rows]
    with open(os.path.join(folder, 'corpus.tsv'), encoding='utf-8') as file:
      corpus = [line.rstrip('\n').split('\t') for line in file]
    self._docs = [
      (int(i.split('_')[-1]), text, tags[int(i.split('_')[-1])]) for i, _, text in corpus
    ]

  def __len__(self) -> int:
    return len(self._docs)

  def batch(self, indices: Sequence[int]) -> list[np.ndarray]:
    """Returns the arrays of a batch: regions, token ids, mask, segments and labels."""
    rows = [self._example(index) for index in indices]
    return [np.stack(column) for column in zip(*rows, strict=True)]

  def _example(self, index):
    image, text_a, text_b = self._docs[index]
    label, mismatch = 0, 0
    if random.random() <= 0.5:
      for _ in range(10):
        other = self._docs[random.randrange(0, len(self._docs))]
        if other[0] != image:
          break
      text_b, label, mismatch = other[random.randrange(1, 3)], 1, int(other[0] != image)
    tokens_a, tokens_b = self._tokenize(text_a), self._tokenize(text_b)
    while len(tokens_a) + len(tokens_b) > _SEQ_LENGTH - 3:
      (tokens_a if len(tokens_a) > len(tokens_b) else tokens_b).pop()
    labels_a, labels_b = self._mask(tokens_a), self._mask(tokens_b)
    tokens = ['[CLS]', *tokens_a, '[SEP]', *tokens_b, '[SEP]']
    segments = [0] * (len(tokens_a) + 2) + [1] * (len(tokens_b) + 1)
    labels = [-1, *labels_a, -1, *labels_b, -1]
    ids = [self._vocab[token] for token in tokens]
    mask = [1] * len(ids)
    while len(ids) < _SEQ_LENGTH:
      for row, filler in ((ids, 0), (mask, 0), (segments, 0), (labels, -1)):
        row.append(filler)
    regions = self._regions(image)
    count = min(len(regions), _REGIONS)
    filler = np.zeros((_REGIONS - count, _DIM), np.float32)
    regions = np.concatenate([regions[:count], filler])
    mask += [1] * count + [0] * (_REGIONS - count)
    labels += [-1] * _REGIONS
    return regions, *(np.array(x) for x in (ids, mask, segments, labels, label, mismatch))

  def _regions(self, image):
    self._file.seek(self._offsets[image])
    row = [column.strip() for column in self._file.readline().split('\t')]
    return np.frombuffer(base64.b64decode(row[-1]), np.float32).reshape(int(row[1]), _DIM)

  def _mask(self, tokens):
    labels = []
    for i, token in enumerate(tokens):
      draw = random.random()
      labels.append(self._vocab[token] if draw < 0.15 else -1)
      if draw < 0.12:
        tokens[i] = '[MASK]'
      elif draw < 0.135:
        tokens[i] = random.choice(list(self._vocab.items()))[0]
    return labels

  def _tokenize(self, text):
    """Splits a text as BERT does: words and punctuation, no accents, then the longest pieces."""
    spaced = ''.join(
      f' {c} ' if unicodedata.category(c)[0] == 'P' else c for c in text.strip().lower()
    )
    plain = ''.join(
      c for c in unicodedata.normalize('NFD', spaced) if unicodedata.category(c) != 'Mn'
    )
    return [piece for word in plain.split() for piece in self._pieces(word)]

  def _pieces(self, word):
    pieces, start = [], 0
    while start < len(word):
      for end in range(len(word), start, -1):
        piece = ('##' if start else '') + word[start:end]
        if piece in self._vocab:
          break
      else:
        return ['[UNK]']
      pieces.append(piece)
      start = end
    return pieces


def _examples_per_cpu_second(step, batches):
  begin = time.process_time()
  for _ in range(batches):
    step()
  return batches * _BATCH_SIZE / (time.process_time() - begin)


def _ours(folder, prepared):
  """Returns an iterator over batches of this project's input, on one thread."""
  import tensorflow as tf

  import oscar
  from oscar.input.pretrain import PretrainInput, PretrainOptions

  tf.config.threading.set_intra_op_parallelism_threads(1)
  tf.config.threading.set_inter_op_parallelism_threads(1)
  options = PretrainOptions(max_seq_length=_SEQ_LENGTH, max_img_seq_length=_REGIONS)
  tokenizer = oscar.Tokenizer(os.path.join(folder, 'vocab.txt'))
  source = PretrainInput(prepared, tokenizer, options, train_batch_size=_BATCH_SIZE)
  threads = tf.data.Options()
  threads.threading.private_threadpool_size = 1
  return iter(source.train_dataset().with_options(threads))


def run(resolved: settings.Resolved) -> None:
  """Times both inputs and prints their ratio."""
  (config,) = resolved
  with tempfile.TemporaryDirectory() as folder:
    from oscar.datasets import builders

    make_corpus(folder, config.num_images, config.texts_per_image)
    prepared = os.path.join(folder, 'prepared')
    for part in ('documents', 'regions'):
      builders.prepare('pretrain', folder, prepared, part)
    plain, ours = PlainLoader(folder), _ours(folder, prepared)
    # Whole epochs, and many more batches than are prefetched.
    epoch = max(1, len(plain) // _BATCH_SIZE)
    batches = -(-_BATCHES // epoch) * epoch

    def plain_batch():
      plain.batch([random.randrange(len(plain)) for _ in range(_BATCH_SIZE)])

    plain_batch()
    next(ours)
    measured: dict[str, list[float]] = {'plain': [], 'ours': []}
    for _ in range(config.rounds):
      measured['plain'].append(_examples_per_cpu_second(plain_batch, _PLAIN_BATCHES))
      measured['ours'].append(_examples_per_cpu_second(lambda: next(ours), batches))
  for name, speeds in measured.items():
    print(f'{name:6} {statistics.median(speeds):8.0f} examples per second of one core')
  ratios = [a / b for a, b in zip(measured['ours'], measured['plain'], strict=True)]
  print(
    f'ratio  {statistics.median(ratios):8.1f} (from {min(ratios):.1f} to {max(ratios):.1f}), '
    f'{config.num_images} images with {config.texts_per_image} texts each'
  )


SCRIPT = Script(__doc__, (BenchmarkConfig,), run)


if __name__ == '__main__':
  SCRIPT.main()
