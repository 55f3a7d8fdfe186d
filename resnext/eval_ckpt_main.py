"""Names what is on photographs with a ResNeXt or ResNet, or measures a checkpoint's accuracy.

  python -m resnext.eval_ckpt_main --model_name=resnext-50-32x4d --ckpt_dir=resnext50_32x4d.pth IMAGE... --picture=top5.png
      With a checkpoint of torchvision, timm, the official Lua code, or of a job (--model_dir).

  python -m resnext.eval_ckpt_main --model_name=resnext-50-32x4d --ckpt_dir=resnext50_32x4d.pth --data_dir=DIR
      Top-1 and top-5 accuracy on TFRecord shards or folders of images; or with --imagenet_eval_glob.

Prints the five likeliest classes of each image, or the accuracies; --output_json keeps them.
"""
from resnext import main as training
from tpu_utils.image_jobs import evaluate

SCRIPT = evaluate.Evaluation(training.TRAINING).script(__doc__, 'resnext.eval_ckpt_main')


if __name__ == '__main__':
  SCRIPT.main()
