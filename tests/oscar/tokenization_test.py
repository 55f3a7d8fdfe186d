"""The tokenizer agrees with the official one; Unicode, files, errors."""
import json
import pathlib
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import oscar
from tests import bert_folder
from tests.oscar.golden_models import GOLDENS, load

VOCAB = str(GOLDENS / 'vocab' / 'vocab.txt')
CASES = load('tokenizer.json')


@pytest.fixture(scope='module')
def tokenizer():
  return oscar.Tokenizer(VOCAB)


@pytest.mark.parametrize('case', CASES['uncased'], ids=lambda c: c['text'][:20])
def test_uncased_agrees_with_official_code(tokenizer, case):
  assert tokenizer.tokenize(case['text']) == case['tokens']
  assert tokenizer.encode(case['text']) == case['ids']
  assert tokenizer.convert_tokens_to_ids(case['tokens']) == case['ids']
  assert tokenizer.decode(case['ids']) == case['decode']
  assert tokenizer.decode(case['ids'], skip_special_tokens=True) == case['decode_skip_special']


@pytest.mark.parametrize('case', CASES['cased_do_lower_case_false'], ids=lambda c: c['text'][:20])
def test_cased_agrees_with_official_code(case):
  assert oscar.Tokenizer(VOCAB, do_lower_case=False).tokenize(case['text']) == case['tokens']


@pytest.mark.parametrize('case', CASES['decode'], ids=lambda c: c['text'][:20])
def test_decoding_agrees_with_official_code(tokenizer, case):
  assert tokenizer.decode(case['ids'], skip_special_tokens=True) == case['text']
  if 'no_cleanup' in case:
    loose = tokenizer.decode(case['ids'], True, clean_up_tokenization_spaces=False)
    assert loose == case['no_cleanup']


# Pieces of the official tokenizer where the tables of `tokenizers` are older than Python's: an
# unassigned character, a new question mark, a new accent; a lone surrogate; Greek.
LATER_UNICODE = {
  'dog\u0378 a': ['dog', 'a'],
  'dog\u061dcat': ['dog', '[UNK]', 'cat'],
  'dog\u1ac1': ['dog'],
  'a\ud800 dog': ['a', 'dog'],
  '\u039f\u0394\u039f\u03a3 \u03a3\u0391\u03a3[MASK]\u0391\u03a3': [
    '\u03bf\u03b4\u03bf\u03c2', '\u03c3\u03b1\u03c2', '[MASK]', '\u03b1\u03c2'
  ],
}  # fmt: skip


@pytest.mark.parametrize('text', LATER_UNICODE, ids=ascii)
def test_characters_are_classified_by_pythons_unicode(tmp_path, text):
  expected = LATER_UNICODE[text]
  greek = [piece for piece in expected if piece[0] > '\u0370']
  path = tmp_path / 'vocab.txt'
  path.write_text('\n'.join([pathlib.Path(VOCAB).read_text(), *greek]), encoding='utf-8')
  tokenizer = oscar.Tokenizer(path)
  assert tokenizer.tokenize(text) == expected
  assert tokenizer.encode_batch([text, 'dog']) == [tokenizer.encode(text), tokenizer.encode('dog')]


def test_cased_text_keeps_its_accents(tmp_path):
  path = tmp_path / 'vocab.txt'
  path.write_text(pathlib.Path(VOCAB).read_text() + 'A\u0301\n', encoding='utf-8')
  assert oscar.Tokenizer(path, do_lower_case=False).tokenize('A\u0301') == ['A\u0301']


def test_batches(tokenizer):
  texts = [case['text'] for case in CASES['uncased']]
  assert tokenizer.encode_batch(texts) == [case['ids'] for case in CASES['uncased']]


def test_special_ids(tokenizer):
  names = ('pad_id', 'unk_id', 'cls_id', 'sep_id', 'mask_id')
  ids = tuple(getattr(tokenizer, name) for name in names)
  assert ids == tuple(CASES['special_ids'].values())
  assert tokenizer.convert_ids_to_tokens([4, 400, -1]) == ['[MASK]', '[UNK]', '[UNK]']
  assert len(tokenizer) == tokenizer.vocab_size == 400


def plain_word_pieces(text, vocab):
  """Applies BERT's rules, for lower-case Latin text without special tokens."""
  words, word = [], ''
  for c in unicodedata.normalize('NFD', text.lower()):
    kind = unicodedata.category(c)
    if c.isspace() or kind.startswith('P') or (c.isascii() and not c.isalnum()):
      words += [word, c.strip()]
      word = ''
    elif kind != 'Mn':
      word += c
  pieces = []
  for found in filter(None, [*words, word]):
    pieces += greedy_pieces(found, vocab) if len(found) <= 100 else ['[UNK]']
  return pieces


def greedy_pieces(word, vocab):
  pieces, start = [], 0
  while start < len(word):
    for end in range(len(word), start, -1):
      piece = ('##' if start else '') + word[start:end]
      if piece in vocab:
        pieces.append(piece)
        start = end
        break
    else:
      return ['[UNK]']
  return pieces


LATIN = st.text(
  st.characters(min_codepoint=32, max_codepoint=0x17F, exclude_categories=['C', 'So'])
)
WORDS = st.lists(st.sampled_from(['A', 'dog', 'Skateboarders', "isn't", 'unwalked', 'café', '[x]']))


@given(st.one_of(LATIN, WORDS.map(' '.join)))
def test_agrees_with_plain_word_pieces(text):
  assume(not any(token in text for token in CASES['special_ids']))
  tokenizer = oscar.Tokenizer(VOCAB)
  assert tokenizer.tokenize(text) == plain_word_pieces(text, tokenizer.vocab)


def test_folder_of_a_checkpoint(tmp_path, tokenizer):
  tokenizer.save_vocabulary(tmp_path)
  (tmp_path / 'added_tokens.json').write_text(json.dumps({'<region>': 400, '<tag>': 401}))
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps({'do_lower_case': False}))
  found = oscar.Tokenizer.from_folder(tmp_path)
  assert found.tokenize('a<tag> Dog <region>') == ['a', '<tag>', '[UNK]', '<region>']
  assert found.encode('<region><tag>') == [400, 401]
  assert oscar.Tokenizer.from_folder(tmp_path, do_lower_case=True).tokenize('Dog') == ['dog']
  assert oscar.Tokenizer.from_folder(GOLDENS / 'checkpoint_captioning').vocab == tokenizer.vocab


def test_added_tokens_and_accents_survive_saving(tmp_path):
  (tmp_path / 'from').mkdir()
  (tmp_path / 'to').mkdir()
  bert_folder.write_tokenizer(tmp_path / 'from', strip_accents=False, added=['<tag>'])
  first = oscar.Tokenizer.from_folder(tmp_path / 'from')
  first.save_vocabulary(tmp_path / 'to')
  assert (tmp_path / 'to' / 'vocab.txt').read_text() == pathlib.Path(VOCAB).read_text()
  again = oscar.Tokenizer.from_folder(tmp_path / 'to')
  for text in ('A<tag> dog', 'caf\u00e9 A\u0301', '<TAG>'):
    assert again.encode(text) == first.encode(text)
  assert again.vocab == first.vocab and again.encode('<tag>') == [400]


@pytest.mark.parametrize('case', CASES['uncased'], ids=lambda c: c['text'][:20])
def test_a_folder_with_tokenizer_json_alone(tmp_path, case, tokenizer):
  bert_folder.write_tokenizer(tmp_path)
  found = oscar.Tokenizer.from_folder(tmp_path)
  assert found.encode(case['text']) == case['ids']
  assert found.vocab == tokenizer.vocab and found.do_lower_case and found.strip_accents
  assert oscar.Tokenizer(tmp_path).vocab == tokenizer.vocab


def test_settings_of_tokenizer_json(tmp_path):
  text = 'Dog caf\u00e9<tag>'
  bert_folder.write_tokenizer(tmp_path, lowercase=False, added=['<tag>'], config={})
  cased = oscar.Tokenizer.from_folder(tmp_path)
  assert not cased.do_lower_case and not cased.strip_accents
  assert cased.encode(text)[-1] == 400 and cased.tokenize('Dog') == ['[UNK]']
  assert oscar.Tokenizer.from_folder(tmp_path, do_lower_case=True).tokenize('Dog') == ['dog']
  bert_folder.write_tokenizer(tmp_path, lowercase=False, config={'do_lower_case': True})
  assert oscar.Tokenizer.from_folder(tmp_path).tokenize('Dog') == ['dog']
  bert_folder.write_tokenizer(tmp_path, strip_accents=False, config={})
  accents = oscar.Tokenizer.from_folder(tmp_path)
  assert accents.do_lower_case and not accents.strip_accents
  assert accents.tokenize('\u00e1') == ['[UNK]']
  (tmp_path / 'tokenizer_config.json').write_text('{"strip_accents": null}')
  assert oscar.Tokenizer.from_folder(tmp_path).tokenize('\u00e1') == ['a']


def _part(name, **changes):
  return lambda content: content[name].update(changes)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (_part('model', type='BPE'), "tokenizer.json: model: type='BPE' is not supported, only 'WordP"),
    (_part('model', unk_token='<unk>'), "unk_token='<unk>' is not supported"),
    (_part('model', continuing_subword_prefix='@@'), "continuing_subword_prefix='@@'"),
    (_part('model', max_input_chars_per_word=20), 'max_input_chars_per_word=20 is not supported'),
    (_part('model', vocab={'[PAD]': 0, 'a': 0}), 'ids from 0, each once'),
    (_part('model', vocab=['a']), 'ids from 0, each once'),
    (_part('model', vocab={'<s>': 0}), r'not a vocabulary of BERT: \[PAD\], .* missing among 1'),
    (_part('normalizer', type='Lowercase'), "normalizer: type='Lowercase' is not supported"),
    (_part('normalizer', handle_chinese_chars=False), 'handle_chinese_chars=False is not'),
    (_part('normalizer', lowercase='yes'), "lowercase='yes', .* expected true or false"),
    (lambda c: c.update(normalizer=None), 'normalizer is None; expected BertNormalizer'),
    (_part('pre_tokenizer', type='Whitespace'), "pre_tokenizer: type='Whitespace' is not"),
    (lambda c: c.pop('model'), 'model is None; expected WordPiece'),
    (lambda c: c['added_tokens'][4].update(lstrip=True), r"token '\[MASK\]' has lstrip=true"),
    (lambda c: c.update(added_tokens=[{'content': '<x>', 'id': 7}]), "'<x>' has id 7; expected"),
    (lambda c: c.update(added_tokens=[{'content': '<x>'}]), "'<x>' has no number as its id"),
    (lambda c: c.update(added_tokens=3), 'added_tokens is 3; expected'),
  ],
)
def test_another_tokenizer_json_is_refused(tmp_path, change, message):
  bert_folder.write_tokenizer(tmp_path)
  bert_folder.edit_tokenizer(tmp_path, change)
  with pytest.raises(ValueError, match=f'tokenizer.json.*{message}|{message}') as error:
    oscar.Tokenizer.from_folder(tmp_path)
  assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
  ('config', 'message'),
  [
    ({'cls_token': '<s>'}, "cls_token='<s>' is not supported, only '.CLS.' is"),
    ({'mask_token': {'content': '<mask>'}}, "mask_token='<mask>' is not supported"),
    ({'tokenize_chinese_chars': False}, 'tokenize_chinese_chars=False is not supported'),
    ({'do_lower_case': 'false'}, "do_lower_case='false'; expected true or false"),
    ([1], 'holds a list; expected a JSON object'),
  ],
)
@pytest.mark.parametrize('new', [True, False])
def test_another_tokenizer_config_is_refused(tmp_path, config, message, new):
  bert_folder.write_tokenizer(tmp_path, config=config)
  if not new:
    (tmp_path / 'tokenizer.json').unlink()
    (tmp_path / 'vocab.txt').write_text(pathlib.Path(VOCAB).read_text())
  with pytest.raises(ValueError, match=f'tokenizer_config.json.*{message}'):
    oscar.Tokenizer.from_folder(tmp_path)


def test_both_files_must_hold_the_same_vocabulary(tmp_path, tokenizer):
  bert_folder.write_tokenizer(tmp_path, lowercase=False, added=['<tag>'], config={})
  text = pathlib.Path(VOCAB).read_text()
  for both in (text, text + '<tag>\n'):
    (tmp_path / 'vocab.txt').write_text(both)
    found = oscar.Tokenizer.from_folder(tmp_path)
    assert len(found) == 401 and not found.do_lower_case
  (tmp_path / 'vocab.txt').write_text(text + 'more\n')
  with pytest.raises(ValueError, match='vocab.txt has 401 pieces, .* not the 400 of .*remove the'):
    oscar.Tokenizer.from_folder(tmp_path)


def test_a_byte_order_mark_is_passed_over(tmp_path, tokenizer):
  def write(name, text):
    (tmp_path / name).write_text('\ufeff' + text, encoding='utf-8')

  write('vocab.txt', pathlib.Path(VOCAB).read_text())
  write('tokenizer_config.json', '{"do_lower_case": false}')
  write('added_tokens.json', '{"<tag>": 400}')
  found = oscar.Tokenizer.from_folder(tmp_path)
  assert found.vocab == {**tokenizer.vocab, '<tag>': 400} and not found.do_lower_case
  for name in ('vocab.txt', 'added_tokens.json'):
    (tmp_path / name).unlink()
  bert_folder.write_tokenizer(tmp_path)
  write('tokenizer.json', (tmp_path / 'tokenizer.json').read_text(encoding='utf-8'))
  assert oscar.Tokenizer.from_folder(tmp_path).vocab == tokenizer.vocab


@pytest.mark.parametrize('name', ['tokenizer.json', 'tokenizer_config.json', 'added_tokens.json'])
def test_deeply_nested_files_are_refused(tmp_path, name):
  (tmp_path / 'vocab.txt').write_text(pathlib.Path(VOCAB).read_text())
  (tmp_path / name).write_text('{"model": ' * 5000)
  with pytest.raises(ValueError, match=f'{name} cannot be read as JSON'):
    oscar.Tokenizer.from_folder(tmp_path)


def test_a_folder_without_vocabulary_is_refused(tmp_path):
  message = f'^{tmp_path} has neither tokenizer.json nor vocab.txt; expected the folder of a BERT'
  with pytest.raises(FileNotFoundError, match=message):
    oscar.Tokenizer.from_folder(tmp_path)
  with pytest.raises(FileNotFoundError, match='none is no folder; expected the folder of a BERT'):
    oscar.Tokenizer.from_folder(tmp_path / 'none')


def test_bad_files(tmp_path):
  path = tmp_path / 'vocab.txt'
  with pytest.raises(FileNotFoundError, match='vocab.txt'):
    oscar.Tokenizer(str(path))
  path.write_text('[PAD]\n[UNK]\na\n')
  with pytest.raises(ValueError, match=r'vocab.txt .* \[CLS\], \[SEP\], \[MASK\] missing among 3'):
    oscar.Tokenizer(str(path))
  path.write_bytes(b'\xff\xfe[PAD]')
  with pytest.raises(ValueError, match='cannot be read as a vocabulary, UTF-8'):
    oscar.Tokenizer(str(path))
  with pytest.raises(ValueError, match="'<tag>' has id 7; expected 400"):
    oscar.Tokenizer(VOCAB, added_tokens={'<tag>': 7})


def test_vocabulary_of_another_model(tokenizer):
  tokenizer.check_vocab_size(400)
  with pytest.raises(ValueError, match='has 400 pieces, the model 399'):
    tokenizer.check_vocab_size(399)
