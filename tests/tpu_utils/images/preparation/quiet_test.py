"""The workers of a preparation are silent."""
import numpy as np
import pytest
import tensorflow as tf

from tests import script_jobs


@pytest.mark.long
@pytest.mark.slow
def test_workers_write_no_log_lines(tmp_path):
  for name in ('cat', 'dog'):
    (tmp_path / 'photos' / 'train' / name).mkdir(parents=True)
    for number in range(2):
      content = tf.io.encode_jpeg(np.full((9, 9, 3), 99, np.uint8)).numpy()
      (tmp_path / 'photos' / 'train' / name / f'{number}.jpg').write_bytes(content)
  code, _, err = script_jobs.finish(
    script_jobs.start(
      '-m', 'tpu_utils.images.prepare', f'--input_dir={tmp_path}/photos',
      f'--output_dir={tmp_path}/shards', '--train_shards=2', '--num_processes=2',
    )  # fmt: skip
  )
  assert code == 0, err
  assert all(line.startswith('prepare image ') for line in err.splitlines()), err
