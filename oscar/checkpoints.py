"""Loads checkpoints of BERT or of an earlier stage into OSCAR models, and saves models."""
import os
from collections.abc import Mapping, Sequence
from typing import Any

from oscar import cards, checkpoint_tasks, serving
from oscar.modeling import OscarModel
from oscar.tokenization import Tokenizer
from tpu_utils import export, files, weights
from tpu_utils.export import model_card

# Layers that a checkpoint may lack: all heads; the pooler, absent in masked-word models of Hugging
# Face; the image embedding, absent in BERT.
_ALLOW_MISSING = ('cls_', 'classifier', 'bert/pooler_dense', 'bert/img_embedding', 'bert/LayerNorm')
# {task: heads that a file may hold although the task's model lacks them}.
_UNUSED = {
  'pretrain': ('classifier.',),
  'captioning': ('classifier.', 'cls.seq_relationship.', 'cls/seq_relationship/'),
}
_UNUSED_IN_CLASSIFICATION = ('cls.', 'cls/')


def initialize(
  model: OscarModel, path: str, source: str = 'auto', keep_initial: Sequence[str] = ()
) -> weights.Report:
  """Loads a checkpoint into a model; heads that the checkpoint lacks keep their initial values.

  The text encoder must be complete; a head must be complete and of the model's shape, or missing as
  a whole. Use `tpu_utils.weights.load` where every variable must come from the file, as in
  evaluation.

  Args:
    model: the model.
    path: an official OSCAR checkpoint, or a BERT of Hugging Face (file or folder) or Google (TF1).
    source: as for `tpu_utils.weights.load`.
    keep_initial: path prefixes of variables to leave as initialised even if the file has them, such
      as 'cls_seq_relationship' to go from Oscar's contrast head of 2 classes to Oscar+'s of 3.

  Returns:
    A report of the variables that were loaded, kept and not used; its text is one line.

  Raises:
    FileNotFoundError: there is nothing at `path`.
    ValueError: the checkpoint does not fit; the model is unchanged.
  """
  unused = _UNUSED.get(model.task, _UNUSED_IN_CLASSIFICATION)
  return weights.load(
    model,
    path,
    source,
    keep_initial=keep_initial,
    allow_missing=_ALLOW_MISSING,
    allow_unused=unused,
  )


def restore(model: OscarModel, path: str, source: str = 'auto') -> weights.Report:
  """Loads a checkpoint of the model's own task, head included, to use it as it is.

  Args:
    model: the model.
    path: an official checkpoint of the task, or an export of this project.
    source: as for `tpu_utils.weights.load`.

  Raises:
    FileNotFoundError: there is nothing at `path`.
    ValueError: the checkpoint is of another task, or does not fit; the model is unchanged.
  """
  checkpoint_tasks.check_task(path, model.task, starts=False)
  unused = _UNUSED.get(model.task, _UNUSED_IN_CLASSIFICATION)
  return weights.load(model, path, source, allow_unused=unused)


def save(
  model: OscarModel,
  tokenizer: Tokenizer,
  folder: str,
  weights_file: str = 'model.safetensors',
  task_info: Mapping[str, Any] | None = None,
  saved_model: bool = False,
  model_dir: str | None = None,
) -> None:
  """Saves a model so that `initialize`, Hugging Face's and the official programs can read it.

  The folder holds `config.json`, the vocabulary, the weights under their official names, the
  versions of the programs that wrote them and a model card, `README.md`. It is written completely
  or not at all; an earlier export is replaced.

  Args:
    model: the model.
    tokenizer: its tokenizer.
    folder: path of the folder.
    weights_file: 'model.safetensors', or 'pytorch_model.bin', which needs torch.
    task_info: arguments of `checkpoint_tasks.write_settings` for `task.json`: the flags to restore
      at test time, and the answers; None writes no such file.
    saved_model: whether to write `saved_model/`, too, which loads without this package (see
      `oscar/serving.py`).
    model_dir: folder of the job that trained the model, for the model card; None if there is none.

  Raises:
    ValueError: `folder` holds something else, or a package is missing.
    OSError: the files could not be written.
  """
  export_info = {'model_name': model.name, 'task': model.task, 'versions': files.versions()}

  def write(staged):
    model.config.to_json(os.path.join(staged, 'config.json'))
    tokenizer.save_vocabulary(staged)
    weights.save_torch(model, os.path.join(staged, weights_file))
    files.write_json(os.path.join(staged, export.EXPORT_INFO_FILE), export_info)
    if task_info is not None:
      checkpoint_tasks.write_settings(staged, model.task, **task_info)
    if saved_model:
      serving.save(model, staged, task_info, tokenizer)
    model_card.write(staged, cards.card(model, model_dir))  # Last: it has checksums.

  files.replace_folder(folder, write, marker=export.EXPORT_INFO_FILE)
