"""How the memory of the pre-training input grows with the corpus."""
import json
import os
import tempfile
from collections.abc import Sequence

from oscar import benchmark_input
from oscar.datasets import builders
from tpu_utils.benchmarking.growth import Curves
from tpu_utils.benchmarking.peer_process import PeerProcess

IMAGES = (128, 256, 512, 1024, 2048)
_TEXTS_PER_IMAGE = 5
_BATCHES = 80  # Of 64 examples of 5 texts an image: 1024 images.


def measure(images: Sequence[int] = IMAGES, batches: int = _BATCHES) -> Curves:
  """Measures the most memory of a process that reads as many batches from corpora of any size.

  Args:
    images: images of the corpora, each of 0.4 MB of regions.
    batches: to read.

  Raises:
    ValueError: the program failed.
  """
  memory, stored = {}, {}
  for count in images:
    with tempfile.TemporaryDirectory() as folder:
      benchmark_input.make_corpus(folder, count, _TEXTS_PER_IMAGE)
      prepared = os.path.join(folder, 'prepared')
      for part in ('documents', 'regions'):
        builders.prepare('pretrain', folder, prepared, part)
      stored[count] = _bytes_in(prepared) / 2**20
      settings = {
        'vocab_file': os.path.join(folder, 'vocab.txt'), 'prepared_dir': prepared,
        'batches': batches,
      }  # fmt: skip
      arguments = [json.dumps(settings)]
      with PeerProcess('oscar.benchmarking.corpus_process', arguments, 'see --help') as process:
        memory[count] = process.measure('read').memory / 2**20
    print(f'{count} images, {stored[count]:.0f} MB: {memory[count]:.0f} MB of memory', flush=True)
  note = f'The most that the process has used for {batches} batches of 64, TensorFlow included.'
  series = {'memory of the input': memory, 'prepared corpus': stored}
  return Curves('Input by corpus', 'images of the corpus', 'MB', series, note)


def _bytes_in(folder):
  return sum(
    os.path.getsize(os.path.join(parent, name))
    for parent, _, names in os.walk(folder)
    for name in names
  )
