"""Writer of Torch7 files with contents that the reference files lack."""
import struct

import numpy as np


class Writer:
  """Parts of a Torch7 file in binary format; each method appends a value."""

  def __init__(self):
    self.parts = []
    self.next_index = 1

  def int(self, value):
    self.parts.append(struct.pack('<i', value))

  def long(self, *values):
    self.parts.append(struct.pack(f'<{len(values)}q', *values))

  def text(self, value):
    data = value if isinstance(value, bytes) else value.encode()
    self.int(len(data))
    self.parts.append(data)

  def index(self):
    self.int(self.next_index)
    self.next_index += 1

  def object(self, value):
    if value is None:
      self.int(0)
    elif isinstance(value, bool):
      self.int(5)
      self.int(value)
    elif isinstance(value, (int, float)):
      self.int(1)
      self.parts.append(struct.pack('<d', value))
    elif isinstance(value, (str, bytes)):
      self.int(2)
      self.text(value)
    elif isinstance(value, dict):
      self.table(value)
    elif isinstance(value, np.ndarray):
      self.tensor(value)
    elif isinstance(value, list):
      self.table({float(i + 1): item for i, item in enumerate(value)})
    else:
      value(self)

  def table(self, value):
    self.int(3)
    self.index()
    self.int(len(value))
    for key, item in value.items():
      self.object(key)
      self.object(item)

  def torch(self, class_name, version='V 1'):
    self.int(4)
    self.index()
    if version:
      self.text(version)
    self.text(class_name)

  def tensor(self, value, element=None):
    element = element or {'float32': 'Float', 'float64': 'Double'}[value.dtype.name]
    self.torch(f'torch.{element}Tensor')
    self.int(value.ndim)
    self.long(*value.shape, *(stride // value.itemsize for stride in value.strides), 1)
    self.torch(f'torch.{element}Storage')
    self.long(value.size)
    self.parts.append(value.tobytes())

  def save(self, path):
    path.write_bytes(b''.join(self.parts))
    return path


def module(class_name, version='V 1', **fields):
  """Returns a value for `Writer.object`: an object of a Torch class with these fields."""

  def write(writer):
    writer.torch(class_name, version)
    writer.table(fields)

  return write


def save(path, value):
  """Writes a file that contains one value; returns its path."""
  writer = Writer()
  writer.object(value)
  return writer.save(path)
