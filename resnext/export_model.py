r"""Exports ResNeXts and ResNets: SavedModel, .keras and TFLite, with the accuracy of each.

  python -m resnext.export_model --ckpt_dir=runs/resnext-digits \
      --output_tflite=digits.tflite --tflite_variants=all
      Exports the network of `python -m resnext.main` as four TFLite files and measures them on the
      digits.

  python -m resnext.export_model --model_name=resnext-50-32x4d --ckpt_dir=resnext50_32x4d.pth \
      --data_dir=DATA --output_tflite=quant.tflite
      Exports a published checkpoint as an 8-bit TFLite file and measures it on the images in DATA.

  python -m resnext.export_model --model_name=resnext-50-32x4d --ckpt_dir=resnext50_32x4d.pth \
      --output_saved_model_dir=DIR --export_to_tpu
      Exports it as a SavedModel for CPUs and GPUs in DIR, and as one for TPUs in DIR/tpu.

TFLite files take pixels, [batch, height, width, 3] in [0, 255], and return probabilities.
"""
from resnext import main as training
from resnext.recipes import RECIPES
from tpu_utils.image_jobs import export

SCRIPT = export.Export(training.TRAINING).script(__doc__, 'resnext.export_model', RECIPES)


if __name__ == '__main__':
  SCRIPT.main()
