"""Files are read once a job, and again by the next job of the process."""

from oscar.tasks import kept


def test_results_are_kept_until_the_next_job():
  read = []
  function = kept.once_a_job(maxsize=2)(lambda name: read.append(name) or len(read))
  assert [function('a'), function('b'), function('a')] == [1, 2, 1]
  kept.forget()
  assert function('a') == 3
