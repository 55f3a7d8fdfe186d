"""Shared by the tests of the readers: sample data, the official items, comparisons."""

import json
import pathlib

import numpy as np
import tensorflow as tf

from oscar.input.regions import pad_regions
from tests.oscar import plain

GOLDENS = pathlib.Path(__file__).parents[1] / 'goldens' / 'oscar'
DATA = GOLDENS / 'dataset'
OUTPUTS = json.loads((GOLDENS / 'loader_outputs.json').read_text())
LENGTH, REGIONS = 20, 3  # max_seq_length and max_img_seq_length of the items.


def padded(regions, count=REGIONS):
  """Returns a batch of one: padded regions and their number."""
  rows, number = pad_regions(tf.constant(regions), count)
  return rows[None], number[None]


def check(item, made, mask, regions):
  """Compares [ids, mask, segments] and regions of an official item with `model_inputs` of one."""
  np.testing.assert_array_equal(made['input_ids'][0], item[0])
  np.testing.assert_array_equal(made['attention_mask'][0], mask)
  np.testing.assert_array_equal(made['token_type_ids'][0], item[2])
  check_regions(made['img_feats'][0], regions)


def check_regions(made, expected):
  shape, sums = plain.row_sums(made)
  assert shape == expected[0]
  np.testing.assert_allclose(sums, expected[1], rtol=1e-6)


def edit(path, change):
  """Changes the contents of a JSON file in place."""
  value = json.loads(path.read_bytes())
  change(value)
  path.write_text(json.dumps(value))
