"""Exporters write nothing to standard error."""
import os

import numpy as np
import pytest

from tests.tpu_utils.export import tiny
from tpu_utils.export import tflite
from tpu_utils.export.quiet import quiet


def test_only_remarks_are_dropped(capfd):
  with quiet():
    os.write(2, b'fully_quantize: 0, inference_type: 6\nW0000 00:00:1.2 3 x.cc:4] flags\nreal\n')
    os.write(2, b'INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n')
  assert capfd.readouterr().err == 'real\n'


@pytest.mark.slow
def test_tflite_is_silent(capfd):
  model = tiny.build_model()
  images = np.zeros((2, *model.inputs[0].shape[1:]), np.float32)
  content = tflite.convert(model, 'int8', list(images))
  tflite.Classifier(content).predict(images)
  assert capfd.readouterr().err == ''
