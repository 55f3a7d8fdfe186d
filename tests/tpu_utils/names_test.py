"""Tests of the errors for unknown names."""
import pytest

from tpu_utils.names import check_name, listed_names, listed_seeds, unknown_name


def test_the_nearest_names_come_first():
  error = unknown_name('model', 'efficientnet-b', ['efficientnet-b0', 'resnext-50'])
  assert str(error) == (
    "Unknown model 'efficientnet-b': did you mean efficientnet-b0? "
    'Choose one of efficientnet-b0, resnext-50.'
  )


def test_long_lists_are_left_out_if_there_is_a_near_name():
  names = [f'model-{i}' for i in range(100)]
  assert 'Choose' not in str(unknown_name('model', 'model-100', names))
  assert 'model-77' in str(unknown_name('model', 'zzz', names))


def test_check_name_accepts_a_known_name():
  check_name('model', 'a', ['a', 'b'])
  with pytest.raises(ValueError, match='Unknown model'):
    check_name('model', 'c', ['a', 'b'])


def test_listed_names_are_checked_and_come_once():
  assert listed_names('model', 'b, a,b', ['a', 'b']) == ['b', 'a']
  with pytest.raises(ValueError, match="Unknown model 'c'"):
    listed_names('model', 'a,c', ['a', 'b'])


def test_seeds_are_whole_numbers_and_come_once():
  assert listed_seeds('43, 42,43') == [43, 42]
  for text in ('', '1,x', '-1', '1.5'):
    with pytest.raises(ValueError, match=f'--seeds={text} must be whole numbers'):
      listed_seeds(text)
