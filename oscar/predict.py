r"""Predicts with a trained OSCAR: answers questions, scores texts, compares and captions images.

  python -m oscar.predict --export_dir=runs/vqa/export --detector=runs/scenes \
      --image=runs/scenes/images/200000.png --question="how many red digits are there?"
      Answers one question (VQA, GQA). Retrieval takes --image and --text, NLVR2 --left, --right and
      --statement, captioning --image alone. The task is that of the export; official checkpoints
      are read as well.

  python -m oscar.predict --export_dir=runs/vqa/export --detector=runs/scenes \
      --input=questions.jsonl --output=answers.jsonl
      Predicts a file of JSON lines, in batches. The same command resumes a stopped job, and the
      output is the same as without a stop.

A line of the input is an object with a text, one image and, if wanted, an `id`, which is copied:

    {"image": "cat.png", "question": "what is it?"}                     VQA, GQA
    {"image": "cat.png", "text": "A cat on a mat.", "id": 7}            retrieval
    {"left": "a.png", "right": "b.png", "statement": "Both are red."}   NLVR2
    {"image": "cat.png", "id": 7}                                       captioning

An image is one of

    "image": path of a picture, needs --detector; with "boxes": [[x1, y1, x2, y2], ...] in pixels,
        or "grid": 3 for the whole picture and 3 x 3 equal parts. Without either, the scenes'
        detector finds connected parts on a plain background, and a ResNeXt takes a grid of 3.
    "image_id": a row of the files in --features
    "features": base64 of float32 [n, 2054] with "num_boxes": n, or lists of numbers; with
        "tags": ["cat", ...] or "objects": [{"class": "cat"}, ...] for models that read tags

and NLVR2's "left" and "right" are objects with these fields, or paths. Paths are relative to the
working directory. A line of the output has the number of the input's line and the result:

    {"line": 1, "answer": "cat", "probability": 0.83, "top": [{"answer", "probability"}, ...],
     "regions": "connected parts on a plain background"}
    {"line": 1, "probability": 0.97, "score": 0.97, "regions": ...}
    {"line": 1, "prediction": true, "probability": 0.9, "probability_true": 0.9, "regions": [...]}
    {"line": 1, "caption": "a cat", "confidence": 0.8, "captions": [{"caption", "confidence"}, ...],
     "regions": ...}
    {"line": 2, "error": "cat.png: No such file or directory"}

`notes` says what was cut off, as in training. With --attention, `attention` has for each sequence
the `tokens` and `weights` [tokens, regions], the mean over layers and heads. A bad line is reported
and counted, and the others are predicted. The exit code is 1 if nothing could be predicted or a
flag is wrong, otherwise 0.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from oscar import region_features
from tpu_utils import files
from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting

_TEXTS = ('question', 'text', 'statement')
_IMAGES = ('image', 'left', 'right')


@dataclasses.dataclass(frozen=True)
class ModelConfig(settings.Checked):
  """The model."""

  export_dir: str = setting(
    None,
    'Folder of an export, or of an official checkpoint.',
    type=str,
    aliases=('model_name_or_path', 'init_checkpoint'),
  )
  task: str = setting(
    None, 'Task of a checkpoint that does not say it.', type=str,
    choices=('vqa', 'gqa', 'retrieval', 'nlvr2', 'captioning'),
  )  # fmt: skip
  label2ans_file: str = setting(
    None, 'Official file of answers, for a checkpoint of VQA or GQA without task.json.', type=str
  )
  settings: str = setting(
    None,
    'JSON object of the flags of the training that the checkpoint does not say, such as '
    '{"max_seq_length": 128, "max_img_seq_length": 50}.',
    type=str,
  )


@dataclasses.dataclass(frozen=True)
class ImageConfig(settings.Checked):
  """The regions of images."""

  detector: str = setting(
    None,
    'For pictures: folder of the scenes (runs/scenes), or the name of a ResNeXt with '
    '--detector_weights and --detector_labels.',
    type=str,
  )
  detector_weights: str = setting(None, "The ResNeXt's checkpoint.", type=str)
  detector_labels: str = setting(
    None, 'File of its class names: one per line, or a JSON list.', type=str
  )
  detector_image_size: int = setting(
    None, "Side in pixels to which regions are stretched; None: the ResNeXt's.", type=int,
    at_least=1,
  )  # fmt: skip
  features: str = setting(
    None, 'Folder of features.tsv and predictions.tsv, for images by image_id.', type=str
  )


@dataclasses.dataclass(frozen=True)
class PredictConfig(settings.Checked):
  """The texts and images, and the output."""

  input: str = setting(None, 'File of JSON lines.', type=str)
  output: str = setting(None, 'File for the results of --input.', type=str)
  image: str = setting(None, 'A picture, or an image_id of --features.', type=str)
  left: str = setting(None, 'NLVR2: the left image, likewise.', type=str)
  right: str = setting(None, 'NLVR2: the right image.', type=str)
  question: str = setting(None, 'A question about --image.', type=str)
  text: str = setting(None, 'Retrieval: a text for --image.', type=str)
  statement: str = setting(None, 'NLVR2: a statement about --left and --right.', type=str)
  boxes: str = setting(
    None, 'JSON file of boxes in the image: [[x1, y1, x2, y2], ...], or {image: these}.', type=str
  )
  grid: int = setting(None, 'Equal parts per side of --image.', type=int, at_least=0)
  top_k: int = setting(5, 'Likely answers to give.', at_least=1)
  num_return_sequences: int = setting(1, 'Captions to write for an image.', at_least=1)
  num_beams: int = setting(5, 'Captions: beams of the search; 1 is greedy.', at_least=1)
  attention: bool = setting(False, 'Give the attention of words to regions, too.')
  batch_size: int = setting(32, 'Lines at a time.', at_least=1)


def check(resolved: settings.Resolved) -> None:
  """Checks the flags, without TensorFlow.

  Raises:
    ValueError: a flag is missing, or two do not go together.
  """
  model, images, config = resolved
  if not model.export_dir:
    raise ValueError('--export_dir is missing: the folder of an export or checkpoint.')
  single = [name for name in (*_IMAGES, *_TEXTS) if getattr(config, name) is not None]
  if config.input is None and not single:
    raise ValueError('Nothing to predict: give --input and --output, or --image and --question.')
  if config.input is not None:
    if single:
      raise ValueError(f'--input does not go with --{single[0]}; give one of them.')
    if config.output is None:
      raise ValueError('--output is missing: the file for the results of --input.')
    files.check_local('output', config.output, 'write a local file and copy it')
    if os.path.realpath(config.output) == os.path.realpath(config.input):
      raise ValueError(f'--output={config.output} is the input; give another file.')
    folder = os.path.dirname(config.output)
    if folder and not files.is_folder(folder):
      raise ValueError(f'--output={config.output}: there is no folder {folder}; create it first.')
    if not files.is_file(config.input):
      raise ValueError(f'--input={config.input} is no file; expected JSON lines.')
  elif config.output is not None:
    raise ValueError('--output needs --input, a file of JSON lines; results of one are printed.')
  if model.settings is not None:
    _settings(model.settings)


def _settings(text):
  try:
    value = files.parse_json(text)
  except ValueError:
    value = None
  if not isinstance(value, dict):
    raise ValueError(f'--settings={text[:60]}: expected a JSON object, such as {{"name": 1}}.')
  return value


def run(resolved: settings.Resolved) -> None:
  """Predicts a file, or prints the result for one text.

  Raises:
    ValueError: a flag does not suit the task, or nothing could be predicted.
    OSError: a file cannot be read or written.
  """
  from oscar.predicting import lines

  model, images, config = resolved
  predictor = _load(model, images)
  options: dict[str, Any] = {'attention': config.attention}
  if predictor.answers:
    options['top_k'] = config.top_k
  if predictor.task == 'captioning':
    options |= {
      'num_return_sequences': config.num_return_sequences, 'num_beams': config.num_beams
    }  # fmt: skip
  if config.input is None:
    _predict_one(predictor, config, images.features is not None, options)
    return
  origin = {name: value for name, value in dataclasses.asdict(images).items() if value is not None}
  counts = lines.run(predictor, config.input, config.output, config.batch_size, options, origin)
  resumed = f', {counts.resumed} of them there before' if counts.resumed else ''
  print(f'{config.output}: {counts.lines} lines, {counts.bad} of them bad{resumed}')


def _load(model, images):
  import oscar
  from oscar.predicting import detectors

  detector = None
  if images.detector is not None:
    labels = images.detector_labels
    detector = detectors.open_detector(
      images.detector,
      images.detector_weights,
      region_features.read_labels(labels) if labels else None,
      images.detector_image_size,
    )
  return oscar.load(
    model.export_dir,
    detector=detector,
    features=images.features,
    answers=model.label2ans_file,
    task=model.task,
    settings=_settings(model.settings) if model.settings else None,
  )


def _predict_one(predictor, config, by_id, options):
  texts = [predictor.text_field] if predictor.text_field else []
  wanted = (*predictor.image_fields, *texts)
  for name in (*_IMAGES, *_TEXTS):
    given = getattr(config, name) is not None
    if given != (name in wanted):
      flags = ', '.join(f'--{flag}' for flag in wanted)
      state = 'has no use' if given else 'is missing'
      raise ValueError(f'--{name} {state}: a model of {predictor.task} takes {flags}.')
  images = [_image(getattr(config, n), config, by_id) for n in predictor.image_fields]
  text = getattr(config, predictor.text_field) if texts else ''
  (result,) = predictor.predict([predictor.example(text, *images)], **options)
  print(result.text())
  for name, origin in zip(predictor.image_fields, result.regions, strict=True):
    print(f'Regions of {name}: {origin}')
  for note in result.notes:
    print(f'Note: {note}')
  for attention in result.attention:
    print(json.dumps({'tokens': attention.tokens, 'weights': attention.weights.round(4).tolist()}))


def _image(value: str, config: PredictConfig, by_id: bool) -> Mapping[str, Any]:
  if by_id and not files.exists(value):
    return {'image_id': value}
  record: dict[str, Any] = {'image': value}
  if config.boxes is not None:
    key = os.path.splitext(os.path.basename(value))[0]
    record['boxes'] = _boxes(config.boxes, key)
  elif config.grid is not None:
    record['grid'] = config.grid
  return record


def _boxes(path: str, key: str) -> Sequence[Any]:
  return region_features.read_boxes(path, [key])[key]


SCRIPT = Script(__doc__, (ModelConfig, ImageConfig, PredictConfig), run, check=check)


if __name__ == '__main__':
  SCRIPT.main()
