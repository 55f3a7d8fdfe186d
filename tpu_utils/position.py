"""The position of a job in its training examples, kept across changes of the batch size."""
from collections.abc import Mapping
from typing import Any

from tpu_utils import run_info


class Position:
  """Counts the examples that a job has trained on; checkpoints hold the count.

  Args:
    model_dir: folder of the job.
    batch_size: examples in a training batch, over all replicas.
    examples_per_epoch: examples in an epoch, over all hosts.
    unit: plural noun for examples, for messages.

  Attributes:
    examples: number of examples trained on, in batches of any size.
  """

  def __init__(self, model_dir: str, batch_size: int, examples_per_epoch: float, unit: str):
    self.examples = 0
    self._model_dir = model_dir
    self._batch_size = batch_size
    self._per_epoch = examples_per_epoch
    self._unit = unit
    self._hosts: int | None = None  # Each reads a share of the examples.
    self._is_resized = False  # Whether the checkpoint's batches were of another size.

  @property
  def epoch(self) -> float:
    """Number of epochs trained."""
    return self.examples / self._per_epoch

  def advance(self, steps: int) -> None:
    """Counts the examples of training steps."""
    self.examples += steps * self._batch_size

  def metadata(self) -> dict[str, Any]:
    """Returns the entries of a checkpoint's metadata from which `restore` resumes."""
    return {
      'examples': self.examples, 'train_batch_size': self._batch_size, 'hosts': self._hosts
    }

  def restore(self, step: int, metadata: Mapping[str, Any]) -> None:
    """Resumes from a checkpoint; prints a line if the batch size has changed.

    Args:
      step: step of the checkpoint.
      metadata: its metadata. Earlier versions have no count: their batch size is taken from
        run.json, or else is assumed to be the present one, and a line says so.
    """
    batch_size = metadata.get('train_batch_size')
    if 'examples' in metadata:
      self.examples = metadata['examples']
    else:
      size = self._batch_size
      self.examples, batch_size, source = run_info.examples_before(self._model_dir, step) or (
        step * size, size, f'{step} batches of {size}, the present size'
      )
      print(
        f'The checkpoint, of an earlier version, does not count its {self._unit}; taking '
        f'{self.examples:,}, {source}.'
      )
    self._hosts = metadata.get('hosts')
    if batch_size not in (None, self._batch_size):
      self._is_resized = True
      print(
        f'Batches of {self._batch_size} {self._unit}, before of {batch_size}: training continues '
        f'with the next one after {self.examples:,} (epoch {self.epoch:.2f}). Evaluations, '
        'learning rate and end go by steps as before; an epoch has '
        f'{self._per_epoch / self._batch_size:.1f} of them now.'
      )

  def read_by(self, hosts: int, resizing_note: str = '') -> None:
    """Takes the number of hosts that share the examples; prints a line if it has changed.

    Args:
      hosts: their number.
      resizing_note: what the input does to the order if the batch size changes; printed if it has.
    """
    if self._is_resized and resizing_note:
      print(resizing_note)
    self._is_resized = False
    if self._hosts not in (None, hosts):
      print(
        f'Hosts that read {self._unit}: {hosts}, before {self._hosts}. Each reads a share of its '
        f'own, so this epoch repeats some {self._unit} and leaves out others.'
      )
    self._hosts = hosts
