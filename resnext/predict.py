r"""Predicts the classes of many images with a ResNeXt or ResNet.

  python -m resnext.predict --export_dir=runs/flowers/export FOLDER --output=out.csv
      A row for each image in FOLDER and the folders below it: path, class, name and probability.

  python -m resnext.predict --ckpt_dir=runs/flowers 'gs://bucket/*.jpg' --top_k=5 \
      --output=out.jsonl
      A JSON object for each image, with its five likeliest classes. --ckpt_dir (the same flag) also
      takes a job's --model_dir, a .keras, .tflite, .xml or .onnx file, and any checkpoint with
      --model_name.

  python -m resnext.predict --model_name=resnext-50-32x4d --ckpt_dir=FILE.pth photo.jpg
      Prints the class, with a checkpoint of torchvision.

A stopped run continues when the same command is given again. In Python:

    import resnext
    classifier = resnext.load('runs/flowers/export')
    predictions = classifier.predict(['FOLDER', 'photo.jpg'])

Each prediction has `image`, `label`, `probability`, `guesses` and `error`.
"""
import os
from typing import Any

from resnext import main as training
from resnext.recipes import RECIPES
from tpu_utils.image_jobs import predict

PREDICTING = predict.Predicting(training.TRAINING)
SCRIPT = PREDICTING.script(__doc__, 'resnext.predict', RECIPES)


def load(path: str | os.PathLike[str], *, runtime: str = 'auto', **flags: Any) -> Any:
  """Loads a classifier that predicts the classes of image files.

  Args:
    path: an export's folder or one of its files (.keras, .tflite, .xml, .onnx), a job's
      --model_dir, or a checkpoint.
    runtime: 'auto', 'tensorflow', 'litert', 'openvino' or 'onnxruntime'.
    **flags: further flags of `python -m resnext.predict`, such as model_name for a checkpoint.

  Returns:
    `tpu_utils.image_jobs.predictor.Predictor`.

  Raises:
    ValueError, OSError: a setting is wrong, or the model cannot be read or run.
  """
  return PREDICTING.load(path, runtime, **flags)


if __name__ == '__main__':
  SCRIPT.main()
