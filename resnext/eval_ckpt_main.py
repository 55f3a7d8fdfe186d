"""Classifies images with a ResNeXt or ResNet, or measures a checkpoint's accuracy.

  python -m resnext.eval_ckpt_main --model_name=resnext-50-32x4d --ckpt_dir=FILE.pth IMAGE...
      Prints the five likeliest classes of each image; --picture=top5.png draws them. --ckpt_dir is
      a checkpoint of torchvision, timm or the official Lua code, or the --model_dir of a job.

  python -m resnext.eval_ckpt_main --model_name=resnext-50-32x4d --ckpt_dir=FILE.pth --data_dir=DIR
      Prints top-1 and top-5 accuracy on TFRecord shards or folders of images; or on image files
      with --imagenet_eval_glob and --imagenet_eval_label.

--output_json writes the results to a file.
"""
from resnext import main as training
from resnext.recipes import RECIPES
from tpu_utils.image_jobs import evaluate

EVALUATION = evaluate.Evaluation(training.TRAINING)
SCRIPT = EVALUATION.script(__doc__, 'resnext.eval_ckpt_main', RECIPES)


if __name__ == '__main__':
  SCRIPT.main()
