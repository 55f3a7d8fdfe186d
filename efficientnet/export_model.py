r"""Exports EfficientNets: SavedModel, .keras and TFLite, with the accuracy of each.

  python -m efficientnet.export_model --ckpt_dir=runs/efficientnet-digits \
    --output_tflite=digits.tflite --tflite_variants=all
      The model that `python -m efficientnet.main` trained, as four TFLite files, measured on the
      digits.

  python -m efficientnet.export_model --model_name=efficientnet-lite0 --ckpt_dir=lite0/ \
    --data_dir=DATA --output_tflite=quant.tflite
      A published checkpoint as an 8-bit TFLite file, measured on images of DATA.

  python -m efficientnet.export_model --model_name=efficientnet-lite0 --ckpt_dir=lite0/ \
    --output_saved_model_dir=DIR --export_to_tpu
      The same as a SavedModel for CPUs and GPUs, and another for TPUs in DIR/tpu.

TFLite files take pixels, [batch, height, width, 3] in [0, 255], and return probabilities.
"""
from efficientnet import main as training
from efficientnet.recipes import RECIPES
from tpu_utils.image_jobs import export

SCRIPT = export.Export(training.TRAINING).script(__doc__, 'efficientnet.export_model', RECIPES)


if __name__ == '__main__':
  SCRIPT.main()
