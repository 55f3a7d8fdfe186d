"""Our tokenizer against the Java program that the COCO evaluation runs."""

import json
import random

import pytest

from oscar.metrics import ptb
from tests.oscar.metrics import official_captions

GOLDENS = official_captions.GOLDENS


def test_each_line_has_the_tokens_of_the_java_program():
  pairs = json.loads((GOLDENS / 'tokenizer.json').read_text())
  lines = ptb.token_lines('\n'.join(text for text, _ in pairs))
  assert [[text, ' '.join(tokens)] for (text, _), tokens in zip(pairs, lines, strict=True)] == pairs


def test_captions_have_the_tokens_of_the_coco_evaluation():
  golden = json.loads((GOLDENS / 'captions.json').read_text())
  assert ptb.tokenize(golden['references']) == golden['tokens']['references']
  candidates = {image: [text] for image, text in golden['candidates'].items()}
  assert ptb.tokenize(candidates) == golden['tokens']['candidates']


def test_the_next_caption_can_decide_on_a_period():
  assert ptb.tokenize({0: ['plan b.'], 1: ['A cat']}) == {0: ['plan b'], 1: ['a cat']}
  assert ptb.tokenize({0: ['plan b.'], 1: ['Cats']}) == {0: ['plan b.'], 1: ['cats']}


def test_line_breaks_do_not_split_a_caption():
  breaks = {0: ['a\ncat', 'a\r\ndog', 'a\u2028bird'], 1: [''], 2: ['a \x0b hen', 'an \x0c owl']}
  expected = {0: ['a cat', 'a dog', 'a bird'], 1: [''], 2: ['a hen', 'an owl']}
  assert ptb.tokenize(breaks) == expected


def test_no_captions_have_no_tokens():
  assert ptb.tokenize({}) == {}
  assert ptb.tokenize({7: []}) == {7: []}


@pytest.mark.skipif(bool(official_captions.missing()), reason=official_captions.missing())
def test_other_odd_captions_have_the_tokens_of_the_java_program(tmp_path):
  draw = random.Random(2)
  text = '\n'.join(official_captions.odd_caption(draw) for _ in range(2000))
  expected = official_captions.java_token_lines(text, tmp_path)
  assert [' '.join(tokens) for tokens in ptb.token_lines(text)] == expected
