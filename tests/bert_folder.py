"""Writes the tokenizer of a BERT folder as new versions of Hugging Face's transformers save it."""
import json
import pathlib

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

VOCAB_FILE = pathlib.Path(__file__).parent / 'goldens' / 'oscar' / 'vocab' / 'vocab.txt'
SPECIAL = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')


def vocabulary():
  """Returns {piece: id} of the golden vocab.txt."""
  pieces = VOCAB_FILE.read_text(encoding='utf-8').splitlines()
  return {piece: number for number, piece in enumerate(pieces)}


def write_tokenizer(folder, lowercase=True, strip_accents=None, added=(), config=None):
  """Writes tokenizer.json with the golden vocabulary, and tokenizer_config.json.

  Args:
    folder: `pathlib.Path` of an existing folder.
    lowercase: setting of the normalizer.
    strip_accents: setting of the normalizer.
    added: tokens to append to the vocabulary.
    config: contents of tokenizer_config.json; None for those that repeat tokenizer.json.
  """
  saved = tokenizers.Tokenizer(models.WordPiece(vocabulary(), unk_token='[UNK]'))
  saved.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents)
  saved.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  saved.add_special_tokens(list(SPECIAL))
  saved.add_tokens(list(added))
  saved.save(str(folder / 'tokenizer.json'))
  if config is None:
    names = (f'{token[1:-1].lower()}_token' for token in SPECIAL)
    config = dict(zip(names, SPECIAL, strict=True))
    config |= {'do_lower_case': lowercase, 'strip_accents': strip_accents}
  (folder / 'tokenizer_config.json').write_text(json.dumps(config))


def edit_tokenizer(folder, change):
  """Applies `change` to the contents of tokenizer.json."""
  path = folder / 'tokenizer.json'
  content = json.loads(path.read_text(encoding='utf-8'))
  change(content)
  path.write_text(json.dumps(content))
