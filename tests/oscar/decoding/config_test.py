"""Settings of generation: values out of range, and such that do not go together."""
import dataclasses

import pytest

from oscar import decoding
from tests.oscar import golden_models
from tests.oscar.decoding import captions


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'max_gen_length': 1}, 'max_gen_length=1: expected at least 2.'),
    ({'num_beams': 0}, 'num_beams=0: expected at least 1.'),
    ({'num_beams': 2.0}, 'num_beams=2.0: expected a whole number.'),
    ({'num_keep_best': '3'}, "num_keep_best='3': expected a whole number."),
    ({'num_return_sequences': True}, 'num_return_sequences=True: expected a whole number.'),
    ({'temperature': 0}, 'temperature=0: expected a number above 0.'),
    ({'top_p': 1.5}, 'top_p=1.5: expected a probability, at most 1.'),
    ({'repetition_penalty': 0.5}, 'repetition_penalty=0.5: expected at least 1.'),
    ({'num_keep_best': 2}, 'num_keep_best=2 needs beam search; set num_beams'),
    ({'num_beams': 2, 'do_sample': True}, 'do_sample with num_beams=2 is not supported; set num_b'),
  ],
)
def test_unfit_settings_raise(settings, message):
  with pytest.raises(ValueError, match=message):
    captions.config(**settings)


def test_special_tokens_of_a_tokenizer(tokenizer):
  config = decoding.GenerationConfig.for_tokenizer(tokenizer, num_beams=5)
  assert {name: getattr(config, name) for name in captions.IDS} == captions.IDS
  assert config.num_beams == 5


def test_defaults_are_those_of_the_official_script():
  official = golden_models.load('script_defaults.json')['run_captioning']
  shared = 0
  for field in dataclasses.fields(decoding.GenerationConfig):
    if field.name in official:
      shared += 1
      assert field.default == official[field.name]['default'], field.name
  assert shared == 10
