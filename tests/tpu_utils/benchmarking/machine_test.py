"""The limits of the machine and its description."""
from tpu_utils.benchmarking import machine


def test_limits_are_those_of_the_fastest_run(monkeypatch):
  monkeypatch.setattr(machine, '_MATRIX', 64)
  monkeypatch.setattr(machine, '_COPIED_BYTES', 2**20)
  products = []
  limits = machine.measure_limits(0.01, lambda a, b: products.append(a @ b))
  assert len(products) >= 3 and products[0].shape == (64, 64)
  assert 1e6 < limits.multiply_adds < 1e13 and 1e7 < limits.bytes < 1e13
  assert limits.text.startswith('Limits measured now: ')


def test_the_description_names_processor_cores_and_versions():
  text = machine.describe(['numpy', 'no-such-distribution'])
  assert ' cores; ' in text and 'numpy ' in text and 'no-such' not in text
