"""A whole job of ResNeXt on remote folders. EfficientNet's tests cover the other scripts."""
import json

import numpy as np
import pytest
import tensorflow as tf

from resnext import eval_ckpt_main, main
from tests import remote
from tpu_utils.images import digits

QUICK = (
  '--model_name=resnext-11-4x8d', '--width=8', '--stem_width=8', '--recipe=cifar',
  '--input_image_size=16', '--num_label_classes=10', '--num_train_images=1442',
  '--num_eval_images=355', '--train_batch_size=16', '--eval_batch_size=71', '--train_steps=2',
  '--steps_per_eval=2', '--iterations_per_loop=2',
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.long
def test_training_export_and_evaluation():
  data_dir = remote.upload(digits.DATA_DIR, remote.new_folder())
  run, out = f'{remote.new_folder()}/run', remote.new_folder()
  main.SCRIPT.call([
    *QUICK, f'--data_dir={data_dir}', f'--model_dir={run}', f'--export_dir={run}/export'
  ])
  names = remote.names_in(run)
  assert {'run.json', 'eval/results.jsonl', 'export/export.json'} <= set(names)
  assert {'report.html', 'report.md', 'report/confusion.png', 'export/README.md'} <= set(names)
  image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
  photograph = remote.write(f'{out}/a.png', tf.io.encode_png(image).numpy())
  for checkpoint in (run, f'{run}/export'):
    json_file = f'{out}/results.json'
    eval_ckpt_main.SCRIPT.call([
      f'--ckpt_dir={checkpoint}', f'--output_json={json_file}', photograph
    ])
    assert len(json.loads(remote.read(json_file))['examples'][photograph]) == 5
