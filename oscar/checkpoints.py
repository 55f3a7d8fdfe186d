"""From stage to stage: starting from the checkpoint of BERT or of another task, and writing one."""
import json
import os

from tpu_utils import export, runner, weights

# Layers that a checkpoint need not have: all heads; the pooler, which masked-word models of Hugging
# Face leave out; the image embedding, which BERT does not have.
_ALLOW_MISSING = ('cls_', 'classifier', 'bert/pooler_dense', 'bert/img_embedding', 'bert/LayerNorm')
# Heads in a file that another task's model has no place for, by the task.
_UNUSED = {
  'pretrain': ('classifier.',),
  'captioning': ('classifier.', 'cls.seq_relationship.', 'cls/seq_relationship/'),
}
_UNUSED_IN_CLASSIFICATION = ('cls.', 'cls/')


def initialize(model, path, source='auto', keep_initial=()):
  """Loads what a checkpoint has for a model, and leaves heads that it does not have as they are.

  The text encoder must be there whole; a head must be there whole or not at all, and of the model's
  shape. Use `tpu_utils.weights.load` where everything must come from the file, as in evaluation.

  Args:
    model: an `OscarModel`.
    path: an official OSCAR checkpoint, a BERT of Hugging Face (files or folders) or of Google (TF1).
    source: as for `tpu_utils.weights.load`.
    keep_initial: path prefixes of variables to leave as initialised even if the file has them, such as
      'cls_seq_relationship' to go from Oscar's contrast head of 2 classes to Oscar+'s of 3.

  Returns:
    A report of the variables loaded, kept and left; show it to the user, its text is one line.

  Raises:
    FileNotFoundError: nothing at `path`.
    ValueError: it does not fit; the model is as it was.
  """
  unused = _UNUSED.get(model.task, _UNUSED_IN_CLASSIFICATION)
  return weights.load(
    model, path, source, keep_initial=keep_initial, allow_missing=_ALLOW_MISSING, allow_unused=unused
  )


def save(model, tokenizer, folder, weights_file='model.safetensors'):
  """Writes a model as `initialize`, Hugging Face's and the official programs read it.

  The folder holds `config.json`, the vocabulary, the weights under their official names and a record
  of what wrote them. It is whole or not there; an earlier export is replaced.

  Args:
    model: an `OscarModel`.
    tokenizer: its `Tokenizer`.
    folder: where to write.
    weights_file: 'model.safetensors', or 'pytorch_model.bin', which needs torch.

  Raises:
    ValueError: `folder` holds something else, or a package is missing.
    OSError: the files could not be written.
  """
  record = {'model_name': model.name, 'task': model.task, 'versions': runner.versions()}

  def write(staged):
    model.config.to_json(os.path.join(staged, 'config.json'))
    tokenizer.save_vocabulary(staged)
    _write_json(os.path.join(staged, 'tokenizer_config.json'), {'do_lower_case': tokenizer.do_lower_case})
    weights.save_torch(model, os.path.join(staged, weights_file))
    _write_json(os.path.join(staged, export.RECORD_FILE), record)

  export.replace_directory(folder, write)


def _write_json(path, content):
  with open(path, 'w', encoding='utf-8') as f:
    json.dump(content, f, indent=2)
    f.write('\n')
