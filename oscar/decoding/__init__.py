"""Captions from a captioning model: greedy, beam and constrained search, samples, scores.

    config = decoding.GenerationConfig.for_tokenizer(tokenizer, num_beams=5, max_gen_length=20)
    found = decoding.generate(model, batch, config)    # {'ids': [B, 1, 20], 'logprobs': [B, 1]}

`cache` runs the model step by step, `search` writes the captions, `scoring` scores given captions
in one pass, `constrained` writes captions that contain given words. All are functions of tensors
that work eagerly, in a `tf.function` and under XLA.
"""
from oscar.decoding.config import GenerationConfig
from oscar.decoding.scoring import score_captions
from oscar.decoding.search import generate

__all__ = ['GenerationConfig', 'generate', 'score_captions']
