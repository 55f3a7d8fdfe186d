"""The data steps for single examples, with Python's `random` in the order of the official code.

Tests compare the batched versions in `oscar.input` with these, and these with numbers of the
official code.
"""

import random

import numpy as np


def truncate(a, b, limit):
  """Removes tokens one by one from the longer text until both fit."""
  a, b = list(a), list(b)
  while len(a) + len(b) > limit:
    (a if len(a) > len(b) else b).pop()
  return a, b


def random_sent(docs, qa, index, use_b, mode, texta_false_prob, classes):
  """Returns (image id, text_a, text_b, label, mismatch); docs: rows of [id|label id, a, b]."""

  def image(doc):
    return doc[0].split('|')[0]

  own = docs[index]
  a, b = own[1], own[2] if use_b or 'qa' in own[0].split('_') else ''
  dice = random.random()
  if dice > 0.5:
    return image(own), a, b, 0, 0
  if dice > texta_false_prob and b:
    other = _other_question(docs, qa, index) if mode == 2 else _other_document(docs, own)
    b = other[random.randrange(1, 3)] if mode == 0 else other[2]
    label = 1
  else:
    other = _other_document(docs, own)
    a, label = other[1], classes - 1
  return image(own), a, b, label, int(image(other) != image(own))


def _other_document(docs, own):
  for _ in range(10):
    other = docs[random.randrange(0, len(docs))]
    if other[0].split('|')[0] != own[0].split('|')[0]:
      break
  return other


def _other_question(docs, qa, index):
  for _ in range(10):
    number = qa[random.randrange(0, len(qa))]
    if number != index:
      break
  return docs[number]


def random_word(tokens, vocab):
  """Returns (tokens with some masked, labels: the original ids where masked, else -1)."""
  tokens, labels = list(tokens), []
  for i, token in enumerate(tokens):
    draw = random.random()
    if draw >= 0.15:
      labels.append(-1)
      continue
    labels.append(vocab[token])
    if draw / 0.15 < 0.8:
      tokens[i] = '[MASK]'
    elif draw / 0.15 < 0.9:
      tokens[i] = random.choice(list(vocab.items()))[0]
  return tokens, labels


def convert(tokens_a, tokens_b, label, mismatch, num_regions, vocab, options, mask=True):
  """Returns {input_ids, input_mask, segment_ids, lm_label_ids} of a pre-training example."""
  length, regions = options['max_seq_length'], options['max_img_seq_length']
  if tokens_b:
    tokens_a, tokens_b = truncate(tokens_a, tokens_b, length - 3)
  else:
    tokens_a = tokens_a[: length - 2]
  kind = label * mismatch
  if options['num_contrast_classes'] == 2 and options['texta_false_prob'] == 0.5 and kind == 1:
    kind = 2
  tokens_a, labels_a = random_word(tokens_a, vocab) if mask else (tokens_a, [-1] * len(tokens_a))
  tokens, labels = ['[CLS]', *tokens_a, '[SEP]'], [-1, *labels_a, -1]
  segments = [0] * len(tokens)
  if tokens_b:
    if not mask or (kind == 1 and not options['mask_loss_for_unmatched']):
      labels_b = [-1] * len(tokens_b)
    else:
      tokens_b, labels_b = random_word(tokens_b, vocab)
    tokens, labels = [*tokens, *tokens_b, '[SEP]'], [*labels, *labels_b, -1]
    segments += [1] * (len(tokens_b) + 1)
  pad, empty = length - len(tokens), regions - num_regions
  return {
    'input_ids': [vocab[token] for token in tokens] + [0] * pad,
    'input_mask': [1] * len(tokens) + [0] * pad + [1] * num_regions + [0] * empty,
    'segment_ids': segments + [0] * pad,
    'lm_label_ids': labels + [-1] * (pad + regions),
  }


def mask_caption(tokens, seq_a_length, vocab, mask_prob, max_masked_tokens):
  """Returns (tokens, masked positions in order, masked ids padded with 0)."""
  tokens, words = list(tokens), [*vocab, '[UNK]']
  candidates = list(range(1, seq_a_length))
  random.shuffle(candidates)
  count = min(max(round(mask_prob * seq_a_length), 1), max_masked_tokens)
  places = sorted(candidates[:count])
  original = [vocab[tokens[place]] for place in places]
  for place in places:
    if random.random() <= 0.8:
      tokens[place] = '[MASK]'
    elif random.random() <= 0.5:
      tokens[place] = words[random.randint(0, len(vocab))]
  return tokens, places, original + [0] * (max_masked_tokens - count)


def retrieval_negative(image_index, num_images, captions_per_image):
  """Returns (image index of the negative, caption index; None if the image is wrong)."""
  others = [i for i in range(num_images) if i != image_index]
  other = random.choice(others)
  if random.random() <= 0.5:
    return other, random.randint(0, captions_per_image - 1)
  return other, None


def row_sums(regions):
  """Returns region features as in the reference data: [shape, sum of each row]."""
  regions = np.asarray(regions, np.float64)
  return [list(regions.shape), regions.reshape(-1, regions.shape[-1]).sum(-1).tolist()]
