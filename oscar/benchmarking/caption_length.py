"""How the time of a caption grows with its length, greedily and by beams."""
import json
from collections.abc import Sequence

from tpu_utils.benchmarking.growth import Curves
from tpu_utils.benchmarking.peer_process import PeerProcess

LENGTHS = (5, 10, 20, 40)
_BEAMS = {'greedy': 1, '5 beams': 5}
_REGIONS = 50


def measure(config: str, lengths: Sequence[int] = LENGTHS, regions: int = _REGIONS) -> Curves:
  """Measures milliseconds for a caption of one image.

  Args:
    config: name or path of an `OscarConfig`.
    lengths: numbers of word pieces.
    regions: regions of the image.

  Raises:
    ValueError: the program failed.
  """
  series: dict[str, dict[int, float]] = {}
  for name, beams in _BEAMS.items():
    settings = {'config': config, 'lengths': lengths, 'num_beams': beams, 'regions': regions}
    arguments = [json.dumps(settings)]
    with PeerProcess('oscar.benchmarking.caption_process', arguments, 'see --help') as process:
      for length in lengths:
        process.measure(f'caption {length}')
        seconds = process.measure(f'caption {length}', repeat=3).wall
        series.setdefault(name, {})[length] = 1000 * seconds
        print(f'{name}, {length} word pieces: {1000 * seconds:.0f} ms', flush=True)
  note = f'One image of {regions} regions; random weights, which end no caption early.'
  return Curves('Captions by length', 'word pieces', 'ms', series, note)
