"""Model cards of image classifiers, and the facts about their training."""
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tpu_utils.export import model_card
from tpu_utils.export.model_card import ModelCard
from tpu_utils.images import class_names as names_in_words
from tpu_utils.images.spec import PreprocessSpec

_MOST_NAMED = 20  # Classes that a card lists.
_METRICS = {
  'top_1_accuracy': 'top-1 accuracy', 'top_5_accuracy': 'top-5 accuracy',
  'cross_entropy': 'cross-entropy',
}  # fmt: skip
_SAVED_MODEL = """```python
import tensorflow as tf

model = tf.saved_model.load('.')
outputs = model.signatures['image_bytes'](image_bytes=tf.constant([open('photo.jpg', 'rb').read()]))
"""
_CLASSES = """print(outputs['classes'], outputs['probabilities'])
names = model.signatures['class_names']()['class_names']  # Only where the classes are named.
```"""
_OTHERS = {
  'tflite': '`model.tflite` maps one image at a time to `{result}`, in any TFLite interpreter.',
  'openvino': "`openvino.Core().compile_model('model.xml', 'CPU', {{'INFERENCE_PRECISION_HINT': "
  "'f32'}})(images)['probabilities']` runs it with OpenVINO.",
  'onnx': "`onnxruntime.InferenceSession('model.onnx').run(['probabilities'], {{'images': images}})"
  '` runs it with ONNX Runtime.',
}


def usage(formats: Sequence[str], endpoint: str | None = None) -> str:
  """Returns Markdown that shows how to use the files of an export.

  Args:
    formats: of the files, keys of `model_formats.FORMATS`.
    endpoint: name of the endpoint that they output; None for classes.
  """
  parts = []
  if 'saved_model' in formats:
    parts.append(_SAVED_MODEL + ("print(outputs['output'])\n```" if endpoint else _CLASSES))
  if 'keras' in formats:
    result = f'the endpoint {endpoint}' if endpoint else 'logits'
    parts.append(
      f"`keras.models.load_model('model.keras')` maps images, prepared as above, to {result}."
    )
  result = 'output' if endpoint else 'probabilities'
  parts += [_OTHERS[name].format(result=result) for name in formats if name in _OTHERS]
  return '\n\n'.join(parts)


def card(
  model_name: str,
  spec: PreprocessSpec,
  num_classes: int,
  class_names: Sequence[str] | None,
  model_dir: str | None = None,
  *,
  results: Mapping[str, str] | None = None,
  measured: str = '',
  usage: str = '',
  endpoint: str | None = None,
) -> ModelCard:
  """Returns the card of a classifier.

  Args:
    model_name: of the network.
    spec: preprocessing of its images.
    num_classes: outputs of the model.
    class_names: their names; None if they are unknown.
    model_dir: folder of the job that trained it; None if there is none.
    results: {metric: value}, in place of those of the job's evaluation.
    measured: sentence on how they were measured.
    usage: Markdown that shows how to use the files; see `usage`.
    endpoint: name of the endpoint that the files output, which has no results; None for classes.
  """
  record = model_card.job_record(model_dir)
  if endpoint is None and results is None and record is not None and record.results:
    results = {name: _metric(key, record.results[key]) for key, name in _METRICS.items()
               if key in record.results and not (key == 'top_5_accuracy' and num_classes <= 5)}
    measured = f'On the evaluation split of the training data, at step {record.step}.'
  details = {
    'input': f'RGB images, {spec.image_size} by {spec.image_size} pixels, values 0 to 255; '
    'normalised inside the model',
    'preparation': f'central crop: {spec.crop}; interpolation: {spec.interpolation or "bicubic"}',
    **(
      {'output': f'endpoint {endpoint}'}
      if endpoint
      else {'classes': _classes_text(num_classes, class_names)}
    ),
  }
  description = f'An image classifier, {model_name}, with {num_classes} outputs.'
  if endpoint:
    description = f'A network for images, {model_name}, up to its endpoint {endpoint}.'
  return ModelCard(
    title=model_name,
    task='image-feature-extraction' if endpoint else 'image-classification',
    description=description,
    tags=(model_name.split('-')[0],),
    details=details,
    training={} if record is None else training_facts(record.flags, record.step, record.strategy),
    results=results or {},
    measured=measured,
    usage=usage,
    limits=() if endpoint else limits(num_classes, record),
  )


def training_facts(flags: Mapping[str, Any], step: int | None, strategy: str) -> dict[str, Any]:
  """Returns {name: value} that describe a training to people.

  Args:
    flags: of the job.
    step: of the checkpoint.
    strategy: the devices, as text.
  """
  data = flags.get('dataset') or os.path.basename(str(flags.get('data_dir') or '').rstrip('/'))
  images, batch = flags.get('num_train_images'), flags.get('train_batch_size')
  epochs = step * batch / images if step and batch and images else None
  found = {
    'data': data or 'the embedded handwritten digits',
    'training images': f'{images:,}' if images else None,
    'evaluation images': f'{flags["num_eval_images"]:,}' if flags.get('num_eval_images') else None,
    'recipe': flags.get('recipe'),
    'initial weights': flags.get('init_checkpoint') or 'random',
    'steps': f'{step:,}' + (f' ({epochs:.1f} epochs)' if epochs else '') if step else None,
    'batch size': batch,
    'optimizer': flags.get('optimizer'),
    'learning rate': _learning_rate(flags),
    'weight decay': flags.get('weight_decay'),
    'label smoothing': flags.get('label_smoothing'),
    'moving averages': flags.get('moving_average_decay') or None,
    'augmentation': flags.get('augment_name'),
    'mixup': flags.get('mixup_alpha') or None,
    'CutMix': flags.get('cutmix_alpha') or None,
    'seed': flags.get('seed'),
    'computed in': 'bfloat16' if flags.get('use_bfloat16') else 'float32',
    'devices': strategy or None,
  }
  return {name: value for name, value in found.items() if value is not None}


def limits(num_classes: int, record: model_card.JobRecord | None) -> list[str]:
  """Returns sentences on what not to expect of a classifier."""
  found = [
    f'It knows its {num_classes} classes alone: any image gets one of them, however unlike the '
    'training images. A low probability is a hint, no proof.',
    'Images that differ from the training data (another camera, light, background or framing) are '
    'recognised less often than the results say.',
  ]
  if record is not None:
    found.append(
      'The checkpoint with the best result on the evaluation images was chosen, so that the '
      'results are slightly better than on new images.'
    )
  return found


def _learning_rate(flags):
  if flags.get('base_learning_rate') is None:
    return None
  rate = flags['base_learning_rate'] * (flags.get('train_batch_size') or 256) / 256
  return f'{rate:.3g}, {flags.get("lr_schedule", "")}'.rstrip(', ')


def _metric(key, value):
  return f'{100 * value:.2f} %' if key.endswith('accuracy') else f'{value:.4f}'


def _classes_text(count, names):
  if names is None:
    return f'{count}, without names'
  shown = [names_in_words.on_one_line(name) for name in names[:_MOST_NAMED]]
  more = f', and {count - len(shown)} more (`class_names` in export.json)'
  return f'{count}: ' + ', '.join(shown) + (more if count > len(shown) else '')
