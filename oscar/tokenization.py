"""BERT's WordPiece tokenizer, on the `tokenizers` library.

Equal to `BertTokenizer` of pytorch-transformers 1.0 except for two rare marks that Unicode has
reclassified since the tables of `tokenizers` (U+166D, U+1734).
"""
import dataclasses
import json
import os
import re
import string
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from tpu_utils import files
from tpu_utils.reading import reading

SPECIAL_TOKENS = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')
_VOCAB_FILE, _ADDED_FILE = 'vocab.txt', 'added_tokens.json'
_TOKENIZER_FILE, _CONFIG_FILE = 'tokenizer.json', 'tokenizer_config.json'
FILES = (_TOKENIZER_FILE, _VOCAB_FILE)  # A folder with one of them holds a tokenizer.
# Settings of tokenizer.json that this tokenizer has, too; others would give other pieces.
_ONLY: dict[str, dict[str, Any]] = {
  'model': {
    'type': 'WordPiece', 'unk_token': '[UNK]', 'continuing_subword_prefix': '##',
    'max_input_chars_per_word': 100,
  },
  'normalizer': {'type': 'BertNormalizer', 'clean_text': True, 'handle_chinese_chars': True},
  'pre_tokenizer': {'type': 'BertPreTokenizer'},
}  # fmt: skip
# The same for tokenizer_config.json, which may leave out each of them.
_ONLY_IN_CONFIG: dict[str, Any] = {
  'pad_token': '[PAD]', 'unk_token': '[UNK]', 'cls_token': '[CLS]', 'sep_token': '[SEP]',
  'mask_token': '[MASK]', 'tokenize_chinese_chars': True, 'do_basic_tokenize': True,
  'never_split': None,
}  # fmt: skip
_FLAGS_OF_ADDED = ('single_word', 'lstrip', 'rstrip')
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
    do_lower_case: whether texts are lower-cased.
    strip_accents: whether accents are dropped.
    pad_id, unk_id, cls_id, sep_id, mask_id: ids of the special tokens.
  """

  def __init__(
    self,
    vocab_file: str | os.PathLike[str],
    do_lower_case: bool = True,
    added_tokens: Mapping[str, int] | None = None,
    strip_accents: bool | None = None,
  ) -> None:
    """Reads a vocabulary.

    Args:
      vocab_file: a `vocab.txt` with one piece a line, its id the line's number from 0; a
        `tokenizer.json`, of which only the vocabulary is taken; or a folder with one of them.
        `from_folder` takes the settings in a checkpoint's folder, too.
      do_lower_case: whether text is lower-cased.
      added_tokens: {token: id} of whole words with ids in or after the vocabulary. They are found
        in a text as they are written here, before it is lower-cased.
      strip_accents: whether accents are dropped; None: if `do_lower_case`.

    Raises:
      OSError: no such file.
      ValueError: not a vocabulary of BERT.
    """
    path = _vocabulary_in(vocab_file) if files.is_folder(vocab_file) else os.fspath(vocab_file)
    saved = _read_saved(path)
    self.vocab, self._num_pieces = dict(saved.vocab), len(saved.vocab)
    self.do_lower_case = do_lower_case
    self.strip_accents = do_lower_case if strip_accents is None else strip_accents
    wordpiece = models.WordPiece(self.vocab, unk_token='[UNK]', max_input_chars_per_word=100)
    self._tokenizer = tokenizers.Tokenizer(wordpiece)
    self._tokenizer.normalizer = normalizers.BertNormalizer(
      lowercase=do_lower_case, strip_accents=self.strip_accents
    )
    self._tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    self._tokenizer.decoder = decoders.WordPiece(cleanup=False)
    self._tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    self._added = {**saved.added, **(added_tokens or {})}
    self._add_tokens(path)
    self._characters = _Characters(drops_accents=self.strip_accents)
    self._pieces = {i: piece for piece, i in self.vocab.items()}
    self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
      self.vocab[token] for token in SPECIAL_TOKENS
    )

  @classmethod
  def from_folder(
    cls, folder: str | os.PathLike[str], do_lower_case: bool | None = None
  ) -> 'Tokenizer':
    """Reads the tokenizer of a checkpoint.

    The vocabulary and the settings come from `tokenizer.json`, as newer versions of Hugging Face's
    transformers save it, else from `vocab.txt` and, if there is one, `added_tokens.json`. Settings
    in `tokenizer_config.json` override them, as they do there.

    Args:
      folder: the checkpoint's folder.
      do_lower_case: None for the value in the files, or True, as officially, if they have none.

    Raises:
      OSError: no such folder, or one without these files.
      ValueError: a file is damaged, has settings that no tokenizer of BERT has, or contradicts
        another one.
    """
    path = _vocabulary_in(folder)
    saved, config = _read_saved(path), _read_config(os.path.join(folder, _CONFIG_FILE))
    if do_lower_case is None:
      do_lower_case = config.get('do_lower_case', saved.do_lower_case)
    strip_accents = config.get('strip_accents', saved.strip_accents)
    added = _read_json(os.path.join(folder, _ADDED_FILE))
    return cls(path, do_lower_case, added, strip_accents)

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
    """Writes the files that `from_folder` reads: `vocab.txt` and `tokenizer_config.json`.

    Added tokens, if there are any, are in `added_tokens.json`.
    """
    pieces = sorted(self.vocab, key=self.vocab.__getitem__)[: self._num_pieces]
    text = ''.join(piece + '\n' for piece in pieces)
    files.write_text(os.path.join(folder, _VOCAB_FILE), text)
    if self._added:
      files.write_json(os.path.join(folder, _ADDED_FILE), self._added)
    config: dict[str, Any] = {'do_lower_case': self.do_lower_case}
    if self.strip_accents != self.do_lower_case:
      config['strip_accents'] = self.strip_accents
    files.write_json(os.path.join(folder, _CONFIG_FILE), config)

  def _prepare(self, text):
    """Does by Python's Unicode tables the normalisation in which `tokenizers` would differ."""
    if text.isascii():
      return text
    if self.do_lower_case:  # Only Python lower-cases a sigma at a word's end to a final sigma.
      text = _WORD_WITH_SIGMA.sub(lambda word: word[0].lower(), text)
    return text.translate(self._characters)

  def _add_tokens(self, source):
    wrong = [token for token, i in self._added.items() if type(i) is not int]
    if wrong:
      raise ValueError(f'{source}: the added token {wrong[0]!r} has no number as its id.')
    for token, i in sorted(self._added.items(), key=lambda item: item[1]):
      if i != self.vocab.get(token, len(self.vocab)):
        raise ValueError(
          f'{source}: the added token {token!r} has id {i}; expected {len(self.vocab)}, the next '
          'one.'
        )
      self._tokenizer.add_tokens([tokenizers.AddedToken(token, normalized=False)])
      self.vocab[token] = i


def vocabulary_of(texts: Iterable[str]) -> list[str]:
  """Returns a vocabulary for few texts: special tokens, their words, letters for other words."""
  words = {word for text in texts for word in re.findall(r'\w+|[^\w\s]', text.lower())}
  signs = string.ascii_lowercase + string.digits
  return [*SPECIAL_TOKENS, *sorted(words | set(signs)), *(f'##{sign}' for sign in signs)]


@dataclasses.dataclass(frozen=True)
class _Saved:
  """A tokenizer in a file: vocabulary and added tokens as {token: id}, settings None if absent."""

  vocab: dict[str, int]
  added: dict[str, int]
  do_lower_case: bool = True
  strip_accents: bool | None = None


def _vocabulary_in(folder):
  """Returns the path of the file in a folder that has the vocabulary."""
  paths = [path for name in FILES if files.is_file(path := os.path.join(folder, name))]
  if not paths:
    problem = f'has neither {" nor ".join(FILES)}' if files.is_folder(folder) else 'is no folder'
    raise FileNotFoundError(f'{folder} {problem}; expected the folder of a BERT checkpoint.')
  if len(paths) == 2:
    _check_equal(*paths)
  return paths[0]


def _check_equal(tokenizer_file, vocab_file):
  """Refuses a vocab.txt that is not the vocabulary of the tokenizer.json beside it."""
  saved, other = _read_saved(tokenizer_file), _read_saved(vocab_file).vocab
  if other not in (saved.vocab, {**saved.vocab, **saved.added}):
    raise ValueError(
      f'{vocab_file} has {len(other)} pieces, and they are not the {len(saved.vocab)} of '
      f'{tokenizer_file}; remove the file that does not belong to the checkpoint.'
    )


def _read_saved(path):
  """Reads a vocab.txt or a tokenizer.json."""
  if not files.is_file(path):
    raise FileNotFoundError(f'{path}: no such file; expected a vocabulary.')
  saved = _read_tokenizer(path) if path.endswith('.json') else _Saved(_read_lines(path), {})
  missing = [token for token in SPECIAL_TOKENS if token not in saved.vocab]
  if missing:
    raise ValueError(
      f'{path} is not a vocabulary of BERT: {", ".join(missing)} missing among {len(saved.vocab)} '
      'pieces.'
    )
  return saved


def _read_lines(path):
  kind = 'a vocabulary, UTF-8 with one piece a line'
  with reading(path, kind), files.open_text(path) as f:
    return {line.rstrip('\n'): i for i, line in enumerate(f)}


def _read_tokenizer(path):
  """Reads a tokenizer.json; refuses settings that this tokenizer does not have."""
  content = _read_json(path)
  for part, allowed in _ONLY.items():
    found = content.get(part)
    if not isinstance(found, dict):
      raise ValueError(f'{path}: {part} is {found!r:.80}; expected {allowed["type"]}.')
    _check_settings(f'{path}: {part}', found, allowed)
  vocab, normalizer = content['model'].get('vocab'), content['normalizer']
  ids = list(vocab.values()) if isinstance(vocab, dict) else [None]
  if not all(type(i) is int for i in ids) or sorted(ids) != list(range(len(ids))):
    raise ValueError(f'{path}: the vocabulary is not {{piece: id}} with ids from 0, each once.')
  lower, strip = normalizer.get('lowercase'), normalizer.get('strip_accents')
  if type(lower) is not bool or type(strip) not in (bool, type(None)):
    raise ValueError(
      f'{path}: lowercase={lower!r:.40}, strip_accents={strip!r:.40}; expected true or false.'
    )
  return _Saved(vocab, _read_added(path, content.get('added_tokens') or []), lower, strip)


def _read_added(path, tokens):
  """Returns {token: id} of the added tokens of a tokenizer.json but the special ones."""
  if not isinstance(tokens, list) or not all(
    isinstance(token, dict) and isinstance(token.get('content'), str) for token in tokens
  ):
    raise ValueError(f'{path}: added_tokens is {tokens!r:.80}; expected [{{id, content}}].')
  for token in tokens:
    flags = [flag for flag in _FLAGS_OF_ADDED if token.get(flag)]
    if flags:
      raise ValueError(
        f'{path}: the added token {token["content"]!r} has {flags[0]}=true, which is not supported.'
      )
  return {t['content']: t.get('id') for t in tokens if t['content'] not in SPECIAL_TOKENS}


def _check_settings(where, found, allowed):
  for name, value in allowed.items():
    if found.get(name) not in (None, value):
      raise ValueError(
        f'{where}: {name}={found[name]!r:.80} is not supported, only {value!r} is, as in BERT.'
      )


def _read_config(path):
  """Reads the settings of tokenizer_config.json; {} if there is no such file."""
  config = _read_json(path)
  # Special tokens may be stored with flags.
  plain = {
    name: value['content'] if isinstance(value, dict) and 'content' in value else value
    for name, value in config.items()
  }
  _check_settings(path, plain, _ONLY_IN_CONFIG)
  for name, kinds in (('do_lower_case', (bool,)), ('strip_accents', (bool, type(None)))):
    if name in config and not isinstance(config[name], kinds):
      raise ValueError(f'{path}: {name}={config[name]!r:.80}; expected true or false.')
  return config


def _read_json(path):
  """Returns the dict in a file; empty if there is no such file."""
  if not files.exists(path):
    return {}
  with reading(path, 'JSON'), files.open_text(path) as f:
    content = json.load(f)
  if not isinstance(content, dict):
    raise ValueError(f'{path} holds a {type(content).__name__}; expected a JSON object.')
  return content
