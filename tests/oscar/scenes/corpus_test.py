"""Groups of scenes are the same whenever and beside whatever they are made."""

import itertools

import pytest

from oscar.scenes import corpus, looks
from tests.oscar.scenes.plain_detector import PlainDetector


def make(blocks, split='train', seed=0, **options):
  return corpus.Corpus(split, seed, blocks, looks.Looks(blocks, PlainDetector()), **options)


def texts(group):
  return (
    [image.scene for image in group.images],
    [image.captions + image.detailed for image in group.images],
    [image.vqa + image.gqa for image in group.images],
    group.statements,
  )


def test_a_group_depends_on_split_seed_and_number_only(blocks):
  first, second = itertools.islice(make(blocks).endless(), 2)
  assert texts(second) == texts(make(blocks).group(1))
  assert texts(first) != texts(second)
  assert texts(first)[1] != texts(make(blocks, seed=1).group(0))[1]
  assert texts(first)[1] != texts(make(blocks, 'val').group(0))[1]


def test_a_split_grows_at_its_end(blocks):
  small = [texts(group) for group in make(blocks).groups(100)]
  large = [texts(group) for group in make(blocks).groups(200)]
  assert large[:1] == small and len(large) == 2


def test_scenes_are_named_and_numbered_without_gaps(blocks):
  groups = list(make(blocks).groups(230))
  keys = [image.key for group in groups for image in group.images]
  assert keys == [str(1_000_000 + number) for number in range(230)]
  stated = [statement for group in groups for statement in group.statements]
  assert [statement.group for statement in stated[::2]] == list(range(460))
  assert [statement.pair for statement in stated] == [0, 1] * 460
  assert make(blocks, 'val').group(0).images[0].key == '200000'


def test_the_number_of_questions_is_an_option(blocks):
  group = make(blocks, num_questions=7).group(0, 10)
  assert {len(image.vqa) for image in group.images} == {7}
  assert {len(image.gqa) for image in group.images} == {7}


@pytest.mark.parametrize(
  ('count', 'expected'),
  [
    (2, [2]), (99, [99]), (100, [100]), (149, [149]), (150, [100, 50]), (200, [100, 100]),
    (301, [100, 100, 101]),
  ],
)  # fmt: skip
def test_sizes_of_groups(count, expected):
  assert corpus.sizes(count) == expected
