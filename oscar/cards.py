"""Model cards of exported OSCAR models."""
import os

from oscar.modeling import OscarModel
from tpu_utils.export import model_card

# {task: (Hugging Face's pipeline_tag, what the model does)}.
_TASKS = {
  'pretrain': ('fill-mask', 'predicts masked words and tags, and whether text and image match'),
  'retrieval': ('feature-extraction', 'scores how well a text fits an image'),
  'captioning': ('image-to-text', 'writes captions for images'),
  'vqa': ('visual-question-answering', 'answers questions about images'),
  'gqa': ('visual-question-answering', 'answers questions about images'),
  'nlvr2': ('visual-question-answering', 'says whether a statement about two images is true'),
}
_SIZES = (
  'hidden_size', 'num_hidden_layers', 'num_attention_heads', 'vocab_size', 'img_feature_dim',
)  # fmt: skip
# Flags of a job that a card tells.
_TRAINING = (
  'recipe', 'train_batch_size', 'learning_rate', 'warmup_steps', 'weight_decay', 'seed',
)  # fmt: skip
_USAGE = """```python
import oscar

predictor = oscar.load('.')
```

`predictor` knows its task; `python -m oscar.predict` takes the folder, too. `config.json` and the
weights have the official names, so that Hugging Face's BERT and the official programs read them."""


def card(model: OscarModel, model_dir: str | None = None) -> model_card.ModelCard:
  """Returns the card of a model.

  Args:
    model: the model.
    model_dir: folder of the job that trained it; None if there is none.
  """
  tag, does = _TASKS[model.task]
  config = model.config.to_dict()
  record = model_card.job_record(model_dir)
  results = {} if record is None else {k: f'{v:.4f}' for k, v in record.results.items()}
  limits = [
    'It sees an image only through the regions and tags of a detector: what that misses, the model '
    'cannot know. Regions must come from the detector that the training used.',
    'It repeats what its training data show, their biases included.',
  ]
  if results:
    limits.append(
      'The checkpoint with the best result on the evaluation data was chosen, so that the results '
      'are slightly better than on new data.'
    )
  return model_card.ModelCard(
    title=f'OSCAR, {model.task}',
    task=tag,
    description=f'An OSCAR model (arXiv 2004.06165) for the task {model.task}: it {does}.',
    tags=('oscar', model.task),
    details={name: config[name] for name in _SIZES if name in config},
    training={} if record is None else _training(record),
    results=results,
    measured='' if record is None else f'On the evaluation split, at step {record.step}.',
    usage=_USAGE,
    limits=limits,
  )


def _training(record):
  flags = record.flags
  data = os.path.basename(str(flags.get('data_dir') or '').rstrip('/'))
  found = {
    'data': data or 'the scenes made by oscar.scenes',
    'initial weights': flags.get('init_checkpoint') or 'random',
    'steps': f'{record.step:,}' if record.step else None,
    **{name: flags.get(name) for name in _TRAINING},
    'computed in': 'bfloat16' if flags.get('use_bfloat16') else 'float32',
    'devices': record.strategy or None,
  }
  return {name: value for name, value in found.items() if value is not None}
