"""The count of examples: changes of batch size and hosts, and checkpoints without a count."""
from tpu_utils import position, run_info


def _position(model_dir, batch_size):
  return position.Position(str(model_dir), batch_size, 16, 'images')


def _after(model_dir, batch_size, steps, hosts=1):
  made = _position(model_dir, batch_size)
  made.read_by(hosts)
  made.advance(steps)
  return made.metadata()


def test_the_same_batch_size_says_nothing(tmp_path, capsys):
  resumed = _position(tmp_path, 4)
  resumed.restore(6, _after(tmp_path, 4, 6))
  resumed.read_by(1)
  assert (resumed.examples, resumed.epoch) == (24, 1.5)
  assert capsys.readouterr().out == ''


def test_another_batch_size_is_one_line(tmp_path, capsys):
  resumed = _position(tmp_path, 8)
  resumed.restore(6, _after(tmp_path, 4, 6))
  resumed.advance(2)
  assert resumed.examples == 24 + 2 * 8
  (line,) = capsys.readouterr().out.splitlines()
  assert line == (
    'Batches of 8 images, before of 4: training continues with the next one after 24 (epoch 1.50). '
    'Evaluations, learning rate and end go by steps as before; an epoch has 2.0 of them now.'
  )


def test_an_input_that_cannot_go_on_exactly_says_so_once(tmp_path, capsys):
  for batch_size, lines in ((8, 2), (4, 0)):
    resumed = _position(tmp_path, batch_size)
    resumed.restore(6, _after(tmp_path, 4, 6))
    for _ in range(2):
      resumed.read_by(1, 'Up to one batch is repeated.')
    assert len(capsys.readouterr().out.splitlines()) == lines


def test_another_number_of_hosts_is_one_line(tmp_path, capsys):
  resumed = _position(tmp_path, 4)
  resumed.restore(6, _after(tmp_path, 4, 6, hosts=2))
  for _ in range(3):  # A strategy may open the data of each host.
    resumed.read_by(1)
  (line,) = capsys.readouterr().out.splitlines()
  assert line.startswith('Hosts that read images: 1, before 2.')


def test_a_checkpoint_without_a_count_takes_it_from_the_record(tmp_path, capsys):
  run_info.write(str(tmp_path), {'flags': {'train_batch_size': 8}})
  resumed = _position(tmp_path, 4)
  resumed.restore(6, {'step': 6})
  assert resumed.examples == 48
  first, second = capsys.readouterr().out.splitlines()
  assert f'taking 48, 6 batches of 8 by {tmp_path}/run.json' in first
  assert second.startswith('Batches of 4 images, before of 8')


def test_a_checkpoint_without_any_record_takes_the_present_batch_size(tmp_path, capsys):
  resumed = _position(tmp_path, 4)
  resumed.restore(6, {'step': 6})
  assert resumed.examples == 24
  (line,) = capsys.readouterr().out.splitlines()
  assert 'taking 24, 6 batches of 4, the present size' in line
