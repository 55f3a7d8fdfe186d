"""An 8-bit TFLite file of a network with swish and squeeze-excite keeps its accuracy."""
import numpy as np
import pytest

from tests.efficientnet import lite_job
from tpu_utils import export
from tpu_utils.export import measuring, model_files, openvino_ir


@pytest.mark.long
@pytest.mark.slow  # Trains for a quarter of a minute.
def test_int8_holds_within_a_point(tmp_path):
  """On all 355 held-out digits, with ranges from 200 training images, by LiteRT and OpenVINO."""
  pytest.importorskip('openvino')
  model = lite_job.trained_model('efficientnet-b0', steps=160)  # Few images are undecided.
  data = model_files.Images(lite_job.DATA, lite_job.SPEC, 10)
  content = export.tflite.convert(model, 'int8', data.training(200))
  (tmp_path / 'model.tflite').write_bytes(content)
  predict = {
    'int8': export.tflite.Classifier(content).predict,
    'OpenVINO': openvino_ir.load(str(tmp_path / 'model.tflite')).predict,
  }
  results = measuring.measure(model, predict, data.evaluation(355))
  assert results['model'].images == 355
  accuracy = {name: result.right / 355 for name, result in results.items()}
  print(accuracy, results['int8'])
  assert accuracy['model'] > 0.9
  assert min(accuracy.values()) >= accuracy['model'] - 0.01


@pytest.mark.slow
def test_weights_have_a_scale_for_each_channel():
  """With one scale a kernel, the folded batch norm would leave small channels without digits."""
  model = lite_job.build_model('efficientnet-b0')
  data = model_files.Images(lite_job.DATA, lite_job.SPEC, 10)
  content = export.tflite.convert(model, 'int8', data.training(4))
  interpreter = export.tflite.Classifier(content)._interpreter
  tensors = interpreter.get_tensor_details()
  scales = [len(t['quantization_parameters']['scales']) for t in tensors
            if len(t['shape']) == 4 and t['dtype'] == np.int8]  # fmt: skip
  assert max(scales) > 32 and sum(count > 1 for count in scales) > 10
