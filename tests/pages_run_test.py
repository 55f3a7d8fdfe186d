"""Runs commands of the pages as they are written, in an empty folder, with few steps.

The other commands are parsed by `pages_test.py`; what the scripts do has tests of its own. These
are chains of commands, in which one needs what another one wrote.
"""
import numpy as np
import pytest
from PIL import Image

from tests import pages

pytestmark = [pytest.mark.slow, pytest.mark.long]
# (page, how the command begins, flags that shorten it, what it writes or prints).
CHAIN = (
  ('README.md', 'efficientnet.main', ('--train_steps=4',), 'runs/efficientnet-digits/export'),
  (
    'efficientnet/README.md', 'efficientnet.export_model --ckpt_dir=runs/efficientnet-digits',
    ('--tflite_variants=float16',), 'digits/saved_model.pb',
  ),
  (
    'efficientnet/README.md', 'efficientnet.eval_ckpt_main --model_name=efficientnet-lite0', (),
    'top5.png',
  ),
  (
    'efficientnet/README.md', 'efficientnet.compound_scaling --data_dir=fake --dry_run', (),
    'efficientnet-b0',
  ),
  (
    'resnext/README.md', 'resnext.cardinality --model_name=resnet-101 --data_dir=fake --dry_run',
    (), 'resnext-101-32x4d',
  ),
  (
    'tpu_utils/images/README.md',
    'tpu_utils.images.prepare --input_dir=photos --holdout_fraction=0.1', (),
    'shards/manifest.json',
  ),
  (
    'tpu_utils/images/README.md', 'tpu_utils.images.prepare --verify', ('--output_dir=shards',),
    'train',
  ),
  ('tpu_utils/launching/README.md', 'tpu_utils.launch', ('--dry_run',), 'gcloud'),
)  # fmt: skip


def command(page, start):
  """Returns the arguments after the module of a page's first command that begins with `start`."""
  for _, block in pages.blocks(pages.read(page), 'bash'):
    for words in pages.commands(block):
      if words[1:2] == ['-m'] and ' '.join(words[2:]).startswith(start):
        return words[2], words[3:]
  raise AssertionError(f'{page} has no command {start}; run another one here.')


def test_commands_run(tmp_path, monkeypatch, capfd):
  monkeypatch.chdir(tmp_path)
  random = np.random.default_rng(0)
  for name in ('ash', 'birch'):
    (tmp_path / 'photos' / name).mkdir(parents=True)
    for number in range(10):
      pixels = random.integers(256, size=(40, 40, 3), dtype=np.uint8)
      Image.fromarray(pixels).save(tmp_path / 'photos' / name / f'{number}.jpg')
  Image.fromarray(random.integers(256, size=(90, 120, 3), dtype=np.uint8)).save('PHOTO.jpg')
  for page, start, short, result in CHAIN:
    module, arguments = command(page, start)
    split = arguments.index('efficientnet.main') if module == 'tpu_utils.launch' else 0
    pages.script_of(module).call([*arguments[:split], *short, *arguments[split:]]
                                 if split else [*arguments, *short])
    printed = capfd.readouterr().out
    assert (tmp_path / result).exists() or result in printed, (module, printed[-2000:])
