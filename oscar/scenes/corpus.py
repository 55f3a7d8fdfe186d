"""Makes scenes and all texts about them, any number, in groups that do not depend on each other.

    maker = world.maker('train')          # of a built world; writes no file
    for group in maker.endless():
      group.images[0].regions.features    # float32 [regions, 2054]

A group of 100 scenes has a number and a seed of its own. So a split can be made in parts or without
end, and does not change with the size of the other one.
"""

import dataclasses
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from oscar.datasets import region_extraction
from oscar.scenes import captions, graph, questions, statements
from oscar.scenes.looks import Looks
from oscar.scenes.questions import Question
from oscar.scenes.statements import Statement
from oscar.scenes.theme import HANDWRITTEN, Theme

GROUP = 100  # Scenes in a group.
QUESTIONS = 8  # Questions per scene of VQA, and as many of GQA.
_STATEMENTS = 2  # Texts for NLVR2 per scene; each is stated of two pairs.
_FIRST_KEY = {'val': 200_000, 'train': 1_000_000}
MAX_VAL = _FIRST_KEY['train'] - _FIRST_KEY['val']  # More would take names of training images.


@dataclasses.dataclass(frozen=True)
class Image:
  """A scene with its detections and texts.

  Attributes:
    scene: the scene graph.
    looks: gives the picture, and the detector's predictions.
    captions: five captions.
    detailed: five captions for retrieval, which distinguish the scene from others.
    vqa, gqa: the questions of these data sets.
  """

  scene: graph.Scene
  looks: Looks = dataclasses.field(repr=False)
  captions: list[str]
  detailed: list[str]
  vqa: list[Question]
  gqa: list[Question]

  @property
  def key(self) -> str:
    """The image's name."""
    return self.scene.key

  @property
  def tags(self) -> tuple[str, ...]:
    """The predicted digits, in the order of the regions."""
    return self.looks.tags(self.scene)

  @property
  def regions(self) -> region_extraction.Regions:
    """The detector's predictions, gathered at each access: scenes of any number fit in memory."""
    return self.looks.regions(self.scene)


@dataclasses.dataclass(frozen=True)
class Group:
  """Scenes with their texts.

  Attributes:
    images: the scenes.
    statements: statements about pairs of them.
  """

  images: list[Image]
  statements: list[Statement]


class Corpus:
  """The scenes and texts of one split."""

  def __init__(
    self,
    split: str,
    seed: int,
    inks: Mapping[str, Sequence[np.ndarray]],
    looks: Looks,
    num_questions: int = QUESTIONS,
    theme: Theme = HANDWRITTEN,
  ) -> None:
    """Makes nothing yet.

    Args:
      split: 'train' or 'val'.
      seed: decides scenes and texts.
      inks: {digit: [uint8 [height, width]]}, the handwritten digits of the split.
      looks: the look of things made from these digits.
      num_questions: questions per scene of VQA, and as many of GQA.
      theme: the vocabulary of the scenes.
    """
    self._split, self._seed, self._inks, self._looks = split, seed, inks, looks
    self._num_questions, self._theme = num_questions, theme

  def group(self, number: int, size: int = GROUP) -> Group:
    """Makes a group.

    Args:
      number: its number, 0 or more.
      size: scenes, at least 2; the texts of a group depend on its size.
    """
    first = _FIRST_KEY[self._split] + number * GROUP
    keys = [str(first + offset) for offset in range(size)]
    scenes = [
      graph.sample(random.Random(f'{self._seed} {key}'), key, self._inks, self._theme)
      for key in keys
    ]
    self._looks.detect(scenes)
    rng = random.Random(f'{self._seed} {self._split} {number} texts')
    simple, composed = (
      make(scenes, rng, self._num_questions) for make in (questions.vqa, questions.gqa)
    )
    images = [
      Image(
        scene, self._looks, captions.captions(scene, rng), captions.detailed(scene, rng), *asked
      )
      for scene, *asked in zip(scenes, simple, composed, strict=True)
    ]
    stated = statements.statements(
      scenes, rng, _STATEMENTS * size, first_group=_STATEMENTS * GROUP * number
    )
    return Group(images, stated)

  def groups(self, count: int) -> Iterator[Group]:
    """Makes the first `count` scenes of the split, 2 or more."""
    for number, size in enumerate(sizes(count)):
      yield self.group(number, size)

  def endless(self, first: int = 0) -> Iterator[Group]:
    """Makes groups of 100 scenes without end, from group number `first` on."""
    return map(self.group, itertools.count(first))


def sizes(count: int) -> list[int]:
  """Returns the sizes of the groups of `count` scenes: 100 each, but for the last one.

  Less than half a group joins the one before it, as few scenes allow few kinds of questions.
  """
  whole, rest = divmod(count, GROUP)
  if whole and rest < GROUP // 2:
    return [GROUP] * (whole - 1) + [GROUP + rest]
  return [GROUP] * whole + [rest] * bool(rest)
