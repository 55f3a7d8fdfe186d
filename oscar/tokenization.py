"""BERT's WordPiece tokenizer, on the `tokenizers` library.

Equal to `BertTokenizer` of pytorch-transformers 1.0 except for two rare marks that Unicode has
reclassified since the tables of `tokenizers` (U+166D, U+1734).
"""
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from tpu_utils import files
from tpu_utils.reading import reading

SPECIAL_TOKENS = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')
_VOCAB_FILE = 'vocab.txt'
# Replacements that remove spaces in decoded text, in this order.
_CLEAN_UP = (
  (' .', '.'),
  (' ?', '?'),
  (' !', '!'),
  (' ,', ','),
  (" ' ", "'"),
  (" n't", "n't"),
  (" 'm", "'m"),
  (' do not', " don't"),
  (" 's", "'s"),
  (" 've", "'ve"),
  (" 're", "'re"),
)
# A word with a capital sigma. Special tokens keep their letters, and a bracket ends a word as a
# space does.
_WORD_WITH_SIGMA = re.compile(r'[^\s\[\]]*\u03a3[^\s\[\]]*')


class _Characters(dict):
  """Table for `str.translate` of characters that the older tables of `tokenizers` misclassify.

  It is filled on demand: control and unassigned characters are removed, and so are accents if
  `drops_accents`; punctuation outside ASCII is surrounded by spaces.
  """

  def __init__(self, drops_accents):
    super().__init__()
    self._drops_accents = drops_accents

  def __missing__(self, code):
    character = chr(code)
    category = unicodedata.category(character)
    if category == 'Mn':
      replacement = '' if self._drops_accents else character
    elif category[0] == 'C':
      replacement = character if character in '\t\n\r' else ''
    else:
      replacement = f' {character} ' if category[0] == 'P' and code > 127 else character
    self[code] = replacement
    return replacement


class Tokenizer:
  """Converts text to the ids of word pieces, and back.

  Special tokens such as `[MASK]` inside a text stay whole. Texts get neither `[CLS]` nor `[SEP]`;
  `oscar/input/layouts.py` adds them.

  Attributes:
    vocab: {piece: id}.
    pad_id, unk_id, cls_id, sep_id, mask_id: ids of the special tokens.
  """

  def __init__(
    self,
    vocab_file: str | os.PathLike[str],
    do_lower_case: bool = True,
    added_tokens: Mapping[str, int] | None = None,
  ) -> None:
    """Reads a vocabulary.

    Args:
      vocab_file: a `vocab.txt` with one piece a line, its id the line's number from 0; or a
        checkpoint's folder, see `from_folder`.
      do_lower_case: whether text is lower-cased and accents are dropped.
      added_tokens: {token: id} of whole words with ids after the vocabulary.

    Raises:
      OSError: no such file.
      ValueError: not a vocabulary of BERT.
    """
    if files.is_folder(vocab_file):
      vocab_file = os.path.join(vocab_file, _VOCAB_FILE)
    self.vocab = _read_vocab(vocab_file)
    self.do_lower_case = do_lower_case
    wordpiece = models.WordPiece(self.vocab, unk_token='[UNK]', max_input_chars_per_word=100)
    self._tokenizer = tokenizers.Tokenizer(wordpiece)
    self._tokenizer.normalizer = normalizers.BertNormalizer(lowercase=do_lower_case)
    self._tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    self._tokenizer.decoder = decoders.WordPiece(cleanup=False)
    self._tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    self._add_tokens(added_tokens or {}, vocab_file)
    self._characters = _Characters(drops_accents=do_lower_case)
    self._pieces = {i: piece for piece, i in self.vocab.items()}
    self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
      self.vocab[token] for token in SPECIAL_TOKENS
    )

  @classmethod
  def from_folder(
    cls, folder: str | os.PathLike[str], do_lower_case: bool | None = None
  ) -> 'Tokenizer':
    """Reads the tokenizer of a checkpoint: `vocab.txt`, and `added_tokens.json` if there is one.

    Args:
      folder: the checkpoint's folder.
      do_lower_case: None for the value in `tokenizer_config.json`, or True, as officially, if that
        has none.

    Raises:
      OSError: no such folder.
      ValueError: one of the files is damaged.
    """
    settings = _read_json(os.path.join(folder, 'tokenizer_config.json'))
    if do_lower_case is None:
      do_lower_case = settings.get('do_lower_case', True)
    added = _read_json(os.path.join(folder, 'added_tokens.json'))
    return cls(os.path.join(folder, _VOCAB_FILE), do_lower_case, added)

  def __len__(self) -> int:
    return len(self.vocab)

  @property
  def vocab_size(self) -> int:
    """Returns the number of pieces."""
    return len(self.vocab)

  def tokenize(self, text: str) -> list[str]:
    """Returns the word pieces of a text."""
    return self._tokenizer.encode(self._prepare(text), add_special_tokens=False).tokens

  def encode(self, text: str) -> list[int]:
    """Returns the ids of a text's word pieces."""
    return self._tokenizer.encode(self._prepare(text), add_special_tokens=False).ids

  def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
    """Returns the ids of each text; the library encodes the texts in parallel."""
    prepared = [self._prepare(text) for text in texts]
    encodings = self._tokenizer.encode_batch_fast(prepared, add_special_tokens=False)
    return [encoding.ids for encoding in encodings]

  def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
    """Returns the ids of pieces; unknown pieces get that of `[UNK]`."""
    return [self.vocab.get(token, self.unk_id) for token in tokens]

  def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
    """Returns the pieces of ids; ids outside the vocabulary become `[UNK]`."""
    return [self._pieces.get(int(i), '[UNK]') for i in ids]

  def decode(
    self,
    ids: Iterable[int],
    skip_special_tokens: bool = False,
    clean_up_tokenization_spaces: bool = True,
  ) -> str:
    """Returns the text of ids.

    Args:
      ids: integers.
      skip_special_tokens: whether to omit `[CLS]`, `[UNK]` and the like.
      clean_up_tokenization_spaces: whether to remove spaces before punctuation and in English
        contractions.
    """
    tokens = self.convert_ids_to_tokens(ids)
    if skip_special_tokens:
      tokens = [token for token in tokens if token not in SPECIAL_TOKENS]
    text = ' '.join(tokens).replace(' ##', '').strip()
    if clean_up_tokenization_spaces:
      for loose, tight in _CLEAN_UP:
        text = text.replace(loose, tight)
    return text

  def check_vocab_size(self, vocab_size: int) -> None:
    """Checks that a model with `vocab_size` words can read this vocabulary's ids.

    Raises:
      ValueError: the vocabulary is larger.
    """
    if len(self.vocab) > vocab_size:
      raise ValueError(
        f'The vocabulary has {len(self.vocab)} pieces, the model {vocab_size} (vocab_size); use '
        "the vocabulary of the model's checkpoint."
      )

  def save_vocabulary(self, folder: str | os.PathLike[str]) -> None:
    """Writes `vocab.txt` for `from_folder`, with the added tokens at its end."""
    pieces = sorted(self.vocab, key=self.vocab.__getitem__)
    path = os.path.join(folder, _VOCAB_FILE)
    files.write_text(path, ''.join(f'{piece}\n' for piece in pieces))

  def _prepare(self, text):
    """Does by Python's Unicode tables the normalisation in which `tokenizers` would differ."""
    if text.isascii():
      return text
    if self.do_lower_case:  # Only Python lower-cases a sigma at a word's end to a final sigma.
      text = _WORD_WITH_SIGMA.sub(lambda word: word[0].lower(), text)
    return text.translate(self._characters)

  def _add_tokens(self, added_tokens, source):
    wrong = [token for token, i in added_tokens.items() if not isinstance(i, int)]
    if wrong:
      raise ValueError(f'{source}: the added token {wrong[0]!r} has no number as its id.')
    for token, i in sorted(added_tokens.items(), key=lambda item: item[1]):
      if i != len(self.vocab):
        raise ValueError(
          f'{source}: the added token {token!r} has id {i}; expected {len(self.vocab)}, the next '
          'one.'
        )
      self._tokenizer.add_tokens([tokenizers.AddedToken(token, normalized=False)])
      self.vocab[token] = i


def _read_vocab(path):
  kind = 'a vocabulary, UTF-8 with one piece a line'
  with reading(path, kind), files.open_text(path) as f:
    vocab = {line.rstrip('\n'): i for i, line in enumerate(f)}
  missing = [token for token in SPECIAL_TOKENS if token not in vocab]
  if missing:
    raise ValueError(
      f'{path} is not a vocabulary of BERT: {", ".join(missing)} missing among {len(vocab)} '
      'pieces.'
    )
  return vocab


def _read_json(path):
  """Returns the dict in a file; empty if there is no such file."""
  if not files.exists(path):
    return {}
  with reading(path, 'JSON'), files.open_text(path) as f:
    content = json.load(f)
  if not isinstance(content, dict):
    raise ValueError(f'{path} holds a {type(content).__name__}; expected a JSON object.')
  return content
