"""Captions from a captioning model: greedy, beam and constrained search, samples, scores.

    config = decoding.GenerationConfig.for_tokenizer(tokenizer, num_beams=5, max_gen_length=20)
    found = decoding.generate(model, batch, config)    # {'ids': [B, 1, 20], 'logprobs': [B, 1]}

`cache` runs the model step by step, `search` writes the captions, `scoring` scores given captions
in one pass, `constrained` writes captions that contain given words. All are functions of tensors
that work eagerly, in a `tf.function` and under XLA. Importing the package is cheap: the first use
of a function imports TensorFlow.
"""
from tpu_utils import lazy

__all__ = ['GenerationConfig', 'generate', 'score_captions']

__getattr__, __dir__ = lazy.attach(
  __name__,
  {'GenerationConfig': 'config', 'generate': 'search', 'score_captions': 'scoring'},
)
