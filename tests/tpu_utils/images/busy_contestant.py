"""A contestant with a background thread that never rests, for `benchmark_test`."""
import itertools
import threading

from tpu_utils.images.benchmarking.process import serve


def work():
  while True:
    pass


if __name__ == '__main__':
  threading.Thread(target=work, daemon=True).start()
  serve(itertools.count())
