"""An exported image classifier that is ready to run, whatever runs it."""
import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

INFO_KEY = 'export_info'  # Under which files of other formats hold the content of export.json.


@dataclasses.dataclass(frozen=True)
class Program:
  """A classifier in a file.

  Attributes:
    run: function(images float32 [n, height, width, 3] in [0, 255], n > 0) -> probabilities or
      logits [n, classes].
    image_shape: (height, width, 3).
    num_classes: number of classes.
    info: the content of export.json that the file holds; {} without.
  """

  run: Callable[[np.ndarray], np.ndarray]
  image_shape: tuple[int, ...]
  num_classes: int
  info: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def predict(self, images: np.ndarray) -> np.ndarray:
    """Returns the outputs for images, float32 [n, height, width, 3]; n may be 0."""
    if not len(images):
      return np.zeros((0, self.num_classes), np.float32)
    return self.run(np.asarray(images, np.float32))


def info_text(info: Mapping[str, Any]) -> str:
  """Returns the content of export.json as a text to store in a file."""
  return json.dumps(info)


def parse_info(text: str | bytes | None) -> Mapping[str, Any]:
  """Parses what `info_text` wrote; {} for anything else."""
  try:
    info = json.loads(text or '{}')
  except (ValueError, RecursionError):
    return {}
  return info if isinstance(info, dict) else {}
