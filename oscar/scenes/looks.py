"""The pictures and region features of scenes, computed once for each look of a thing.

A training digit in one colour and size is one of 17,304 stamps, however many scenes show it. Boxes
are disjoint and the canvas is plain, so the crop of a thing depends on its stamp alone: the
detector sees each stamp once, and a scene's features are gathered.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from oscar.datasets import features, region_extraction
from oscar.scenes import canvas, graph


class _Detection(NamedTuple):
  """A stamp as the detector sees it: float32 [2048], class name, probability of that class."""

  appearance: np.ndarray
  tag: str
  score: float


class Looks:
  """Paints scenes and detects their regions, with memory.

  Memory grows with the stamps met, to about 200 MB for all of the training digits.
  """

  def __init__(
    self,
    inks: Mapping[str, Sequence[np.ndarray]],
    detector: Any,
    paint: Callable[..., np.ndarray] = canvas.paint_thing,
  ) -> None:
    """Starts without any stamp.

    Args:
      inks: {digit: [uint8 [height, width]]} from `canvas.read_inks`.
      detector: a `detector.Detector`, or another model for `region_extraction.extract` with an
        attribute `labels`.
      paint: from a thing and `inks` to the picture of its box.
    """
    self._inks, self._detector, self._paint = inks, detector, paint
    self._patches: dict[graph.Stamp, np.ndarray] = {}
    self._detections: dict[graph.Stamp, _Detection] = {}

  def detect(self, scenes: Iterable[graph.Scene]) -> None:
    """Applies the detector to the stamps of scenes that it has not seen, many at a time."""
    things = {thing.stamp: thing for scene in scenes for thing in scene.things}
    new = {stamp: self._patch(t) for stamp, t in things.items() if stamp not in self._detections}
    crops = (
      (' '.join(map(str, stamp)), patch, [(0, 0, patch.shape[1], patch.shape[0])])
      for stamp, patch in new.items()
    )
    found = region_extraction.extract(crops, self._detector, self._detector.labels)
    for stamp, regions in zip(new, found, strict=True):
      appearance = regions.features[0, : -len(features.GEOMETRY)].copy()
      self._detections[stamp] = _Detection(appearance, regions.tags[0], float(regions.scores[0]))

  def picture(self, scene: graph.Scene) -> np.ndarray:
    """Paints a scene; returns uint8 [HEIGHT, WIDTH, 3]."""
    return canvas.compose(scene, [self._patch(thing) for thing in scene.things])

  def tag_of(self, thing: graph.Thing) -> str:
    """Returns the digit that the detector takes a thing of a detected scene for."""
    return self._detections[thing.stamp].tag

  def tags(self, scene: graph.Scene) -> tuple[str, ...]:
    """Returns the predicted digits of a scene, in the order of `regions`."""
    return tuple(self._detections[thing.stamp].tag for thing in self._by_score(scene))

  def regions(self, scene: graph.Scene) -> region_extraction.Regions:
    """Returns the regions of a scene by falling score, as detectors return them."""
    things, (width, height) = self._by_score(scene), scene.theme.canvas
    found = [self._detections[thing.stamp] for thing in things]
    return region_extraction.Regions(
      features=features.join(
        np.stack([detection.appearance for detection in found]),
        [thing.box for thing in things], width, height, f'scene {scene.key}',
      ),
      tags=tuple(detection.tag for detection in found),
      scores=np.array([detection.score for detection in found], np.float32),
      width=width,
      height=height,
    )  # fmt: skip

  def _by_score(self, scene):
    """Returns the things of a scene by falling score."""
    if any(thing.stamp not in self._detections for thing in scene.things):
      self.detect([scene])
    return sorted(scene.things, key=lambda thing: -self._detections[thing.stamp].score)

  def _patch(self, thing):
    patch = self._patches.get(thing.stamp)
    if patch is None:
      patch = self._patches[thing.stamp] = self._paint(thing, self._inks)
    return patch
