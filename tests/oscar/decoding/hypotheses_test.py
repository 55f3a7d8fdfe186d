"""Finished captions are kept and the search is over as in traces of the official code."""
import numpy as np
import pytest
import tensorflow as tf

from oscar.decoding import hypotheses
from tests.oscar import golden_models

TRACES = golden_models.load('cider_scst.json')['beam_hypotheses']


@pytest.mark.parametrize('trace', range(len(TRACES)))
def test_official_trace(trace):
  trace = TRACES[trace]
  penalty, longest = trace['length_penalty'], trace['max_length_arg'] - 1
  kept = hypotheses.empty(1, trace['n_hyp'], 12, 0)
  for step in trace['steps']:
    length = step['len']
    ids = tf.where(tf.range(12) < length, length, 0)[None, None]  # Its length tells a caption.
    kept = hypotheses.add(kept, ids, tf.constant([[step['sum'] / length**penalty]]))
    expected = sorted(step['kept'], reverse=True)
    count = len(expected)
    np.testing.assert_allclose(kept.scores[0, :count], [s for s, _ in expected], rtol=1e-6)
    assert kept.ids[0, :count, 0].numpy().tolist() == [n for _, n in expected]
    for best in (-5, -20):
      done = hypotheses.is_done(kept, tf.constant([best / longest**penalty], tf.float32))
      assert done[0] == step[f'is_done_if_best_sum_{best}']


def test_missing_captions():
  found = hypotheses.result(hypotheses.empty(2, 3, 4, 7))
  np.testing.assert_array_equal(found['ids'], np.full([2, 3, 4], 7))
  np.testing.assert_array_equal(found['logprobs'], np.full([2, 3], -1e5, np.float32))
