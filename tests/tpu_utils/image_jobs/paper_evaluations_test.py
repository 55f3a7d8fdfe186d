"""Evaluations of checkpoints for the papers' tables, with a script that stands in for a paper's."""
import sys
import types

from tpu_utils.image_jobs.paper_evaluations import Evaluations

EVALUATIONS = Evaluations(
  'a_paper.eval', lambda name: {'model_name': name}, lambda x: 100 * (1 - x), ('top1', 'top5')
)


def test_values_are_as_printed_and_the_command_names_the_paths(monkeypatch):
  calls = []

  def call(arguments):
    calls.append(arguments)
    return {'top_1_accuracy': 0.75, 'top_5_accuracy': 0.875, 'loss': 1.0}

  module = types.SimpleNamespace(SCRIPT=types.SimpleNamespace(call=call))
  monkeypatch.setitem(sys.modules, 'a_paper.eval', module)
  values, command = EVALUATIONS.evaluate('net', 'ckpt', 'data', 'work')
  assert values == {'top1': 25, 'top5': 12.5}
  assert calls == [['--model_name=net', '--ckpt_dir=ckpt', '--data_dir=data']]
  assert command == 'python -m a_paper.eval --model_name=net --ckpt_dir=ckpt --data_dir=data'


def test_a_planned_evaluation_has_the_top_1_value_unless_another_is_named():
  planned = [EVALUATIONS.planned('net'), EVALUATIONS.planned('net', 'top5')]
  assert [(p.name, p.metric) for p in planned] == [('net', 'top1'), ('net', 'top5')]
  assert planned[0].command.endswith('--ckpt_dir=CHECKPOINT --data_dir=DATA')
