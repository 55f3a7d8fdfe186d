"""Exports ResNeXts and ResNets: SavedModel, .keras and TFLite, with the accuracy of each.

  python -m resnext.export_model --ckpt_dir=runs/resnext-digits --output_tflite=digits.tflite --tflite_variants=all
      What `python -m resnext.main` has learnt, as four TFLite files, measured on the digits.

  python -m resnext.export_model --model_name=resnext-50-32x4d --ckpt_dir=resnext50_32x4d.pth --data_dir=DATA --output_tflite=quant.tflite
      A published checkpoint as an 8-bit TFLite file, measured on images of DATA.

  python -m resnext.export_model --model_name=resnext-50-32x4d --ckpt_dir=resnext50_32x4d.pth --output_saved_model_dir=DIR --export_to_tpu
      The same as a SavedModel for CPUs and GPUs, and as one for TPUs in DIR/tpu.

TFLite files take pixels, [batch, height, width, 3] in [0, 255], and give probabilities.
"""
import sys

from absl import flags

from resnext import main as training
from tpu_utils.command_line import cli, settings
from tpu_utils.export import script

SCRIPT = script.Script(training.SCRIPT)


def main(argv):
  del argv
  SCRIPT.run(flags.FLAGS)


if __name__ == '__main__':
  SCRIPT.define_flags(flags.FLAGS)
  sys.exit(cli.run(main, settings.parse_flags(__doc__, SCRIPT.configs)))
