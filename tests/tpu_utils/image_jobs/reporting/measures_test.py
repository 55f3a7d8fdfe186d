"""Measures against numbers worked out by hand, and against scikit-learn's."""
import numpy as np
import pytest
from sklearn import metrics

from tpu_utils.image_jobs.reporting import measures
from tpu_utils.image_jobs.reporting.measures import Predictions

# Five images of three classes.
FIVE = Predictions(
  label=np.array([0, 0, 1, 1, 2]),
  predicted=np.array([0, 1, 1, 1, 0]),
  probability=np.array([0.9, 0.6, 0.8, 0.5, 0.7], np.float32),
  true_probability=np.array([0.9, 0.3, 0.8, 0.5, 0.2], np.float32),
  rank=np.array([0, 1, 0, 0, 1]),
  num_outputs=4,
)


def random_predictions(n=400, outputs=7):
  rng = np.random.default_rng(0)
  probabilities = rng.dirichlet(np.full(outputs, 0.3), n)
  label = np.array([rng.choice(outputs, p=row) for row in probabilities])
  own = probabilities[np.arange(n), label]
  return probabilities, Predictions(
    label, probabilities.argmax(1), probabilities.max(1), own,
    (probabilities > own[:, None]).sum(1), outputs,
  )  # fmt: skip


def test_accuracy_loss_and_confusion():
  assert (FIVE.top_1, FIVE.top_5, len(FIVE)) == (0.6, 1.0, 5)
  assert FIVE.log_loss == pytest.approx(-np.log([0.9, 0.3, 0.8, 0.5, 0.2]).mean(), rel=1e-5)
  np.testing.assert_array_equal(
    FIVE.confusion(), [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
  )


def test_results_by_class_leave_out_those_that_never_occur():
  found = [(c.number, c.images, c.guesses, c.right) for c in FIVE.classes()]
  assert found == [(0, 2, 2, 1), (1, 2, 3, 2), (2, 1, 0, 0)]
  assert [c.accuracy for c in FIVE.classes()] == [0.5, 1.0, 0.0]
  assert [c.precision for c in FIVE.classes()] == [0.5, 2 / 3, None]
  unseen = measures.ClassResult(9, 0, 3, 0)
  assert [c.number for c in measures.worst_first([unseen, *FIVE.classes()])] == [2, 0, 1, 9]


def test_the_most_confident_mistakes_come_first():
  assert FIVE.mistakes().tolist() == [4, 1]


def test_pairs_by_how_often_they_are_confused():
  _, many = random_predictions()
  pairs = many.confused_pairs(5)
  table = many.confusion() * (1 - np.eye(7, dtype=int))
  assert [count for *_, count in pairs] == sorted(table.ravel(), reverse=True)[:5]
  assert all(table[true, predicted] == count for true, predicted, count in pairs)


def test_calibration_error_by_hand():
  # Bins of a fifteenth: 0.9, 0.6, 0.8, 0.5 and 0.7 are alone in theirs.
  gaps = [0.1, 0.6, 0.2, 0.5, 0.7]
  assert FIVE.calibration_error == pytest.approx(np.mean(gaps), rel=1e-5)
  assert [part.images for part in FIVE.calibration()] == [1] * 5


def test_bins_hold_their_upper_end_and_the_first_holds_zero():
  ends = np.array([0.0, 1 / 15, 2 / 15, 1.0])
  zeros = np.zeros(4, int)
  bins = Predictions(zeros, zeros, ends, ends, zeros, 2).calibration()
  assert [(round(part.start * 15), part.images) for part in bins] == [(0, 2), (1, 1), (14, 1)]


def test_as_scikit_learn():
  probabilities, many = random_predictions()
  np.testing.assert_array_equal(
    many.confusion(), metrics.confusion_matrix(many.label, many.predicted, labels=range(7))
  )
  assert many.top_1 == metrics.accuracy_score(many.label, many.predicted)
  assert many.top_5 == metrics.top_k_accuracy_score(many.label, probabilities, k=5)
  assert many.log_loss == pytest.approx(metrics.log_loss(many.label, probabilities), rel=1e-6)
  recall = metrics.recall_score(many.label, many.predicted, average=None)
  np.testing.assert_allclose([c.accuracy for c in many.classes()], recall)
