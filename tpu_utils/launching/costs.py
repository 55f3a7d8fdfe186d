"""Lines about costs: cores x hours, at a price that the user gives."""
from __future__ import annotations

from tpu_utils.launching.accelerators import Accelerator


def estimate(accelerator: Accelerator, hours: float | None, price: float | None) -> str:
  """Returns the line before the start.

  Args:
    accelerator: the TPU.
    hours: expected hours, or None.
    price: price of a core for an hour, or None.
  """
  cores = accelerator.cores
  text = f'Cost of a {accelerator.name}: {_cores(cores)}, {cores} core-hours per hour'
  if price is not None:
    text += f' x {price:g} = {cores * price:.2f} per hour'
  if hours is not None:
    text += f'; {hours:g} hours are {_number(cores * hours)} core-hours'
    text += f' = {cores * hours * price:.2f}' if price is not None else ''
  if price is None:
    text += '; --price_per_core_hour=PRICE turns core-hours into money'
  return f'{text}.'


def spent(accelerator: Accelerator, seconds: float, price: float | None) -> str:
  """Returns the cost of some seconds: '16 core-hours (2 h x 8 cores), = 4.00'."""
  hours = seconds / 3600
  total = accelerator.cores * hours
  text = f'{_number(total)} core-hours ({_number(hours)} h x {_cores(accelerator.cores)})'
  return text if price is None else f'{text} x {price:g} = {total * price:.2f}'


def _cores(count):
  return '1 core' if count == 1 else f'{count} cores'


def _number(value):
  return f'{value:.2f}'.rstrip('0').rstrip('.')
