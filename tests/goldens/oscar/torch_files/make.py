"""Writes the torch files of this folder; needs torch (2.14.1 was used)."""
import collections
import pathlib

import torch

FOLDER = pathlib.Path(__file__).parent


def content():
  base = torch.arange(24, dtype=torch.float32)
  dtypes = [torch.float64, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8,
            torch.uint8, torch.bool]
  return {
    'plain': base.reshape(4, 6),
    'view': base[6:18].reshape(2, 6),
    'transposed': base.reshape(4, 6).t(),
    'stepped': base[::5],
    'expanded': base[3:4].expand(3),
    'empty': torch.zeros(0, 6),
    'scalar': torch.tensor(2.5),
    7: collections.OrderedDict(a=[torch.arange(3), 'text', (1, 2.5, None)]),
    'dtypes': [torch.tensor([0, 1, 2]).to(dtype) for dtype in dtypes],
    'counts': collections.defaultdict(float, {('a', 'b'): 2.0}),
  }


if __name__ == '__main__':
  torch.save(content(), FOLDER / 'zip.pt')
  torch.save(content(), FOLDER / 'old.pt', _use_new_zipfile_serialization=False)
  torch.save({'a': torch.zeros(2, dtype=torch.bfloat16)}, FOLDER / 'bfloat16.pt')
