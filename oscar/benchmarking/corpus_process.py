"""Process in which a benchmark reads a prepared corpus: `read BATCHES`.

Argument: a JSON dict of `vocab_file`, `prepared_dir` and `batches`.
"""
import json
import sys

from tpu_utils.benchmarking import peer_process
from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)

_SEQ_LENGTH, _REGIONS, _BATCH_SIZE = 35, 50, 64


def main(vocab_file: str, prepared_dir: str, batches: int) -> None:
  """Serves training batches of the pre-training input until standard input ends."""
  import itertools

  import oscar
  from oscar.input.pretrain import PretrainInput, PretrainOptions

  options = PretrainOptions(max_seq_length=_SEQ_LENGTH, max_img_seq_length=_REGIONS)
  source = PretrainInput(
    prepared_dir, oscar.Tokenizer(vocab_file), options, train_batch_size=_BATCH_SIZE
  )
  iterator = iter(source.train_dataset())

  def read():
    for _ in itertools.islice(iterator, batches):
      pass

  peer_process.serve({'read': read})


if __name__ == '__main__':
  main(**json.loads(sys.argv[1]))
