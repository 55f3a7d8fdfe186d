"""Captions with odd punctuation, and their tokens and scores by pycocoevalcap and Java.

    python -m tests.oscar.metrics.official_captions

records those in `tests/goldens/oscar_metrics`. It needs pycocoevalcap and `java`.
"""

import contextlib
import importlib.util
import io
import json
import os
import pathlib
import random
import shutil
import subprocess

GOLDENS = pathlib.Path(__file__).parents[2] / 'goldens' / 'oscar_metrics'
JAR = 'stanford-corenlp-3.4.1.jar'

_WORDS = (
  'a red seven stands left of the tall green nine while an old digit sleeps near two blue ones '
  'on sand and looks at its shadow in The A He White-ish colour grey theatre'
)
_ODD = (
  "don't can't it's isn't they're I'm we've dogs' 'em cannot Cannot gonna wanna gotta 'twas "
  "'tis Mr. Mrs. U.S. U.S.A. etc. Jan. Dr. St. No. no. fig. p.m. a.m. vs. vs Inc. Co. Ltd. "
  "o'clock rock'n'roll y'all y'know 90's '90s 1990s 3.50 $5 #1 50% 1/2 and/or black-and-white "
  't-shirt co-ed x-ray 12:30 1,000 10-12 12/25/2014 555-1234 (555) www.foo.com '
  "http://a.b/c?d=e foo@bar.com @user #tag <b> </b> <br/> <a href='x y'> &amp; & AT&T R&B c++ "
  'C# .jpg a.jpg x.txt :) :-) ;) =D <3 ^_^ (^_^) -- --- ---- ----- - ... .... .. . ! !! ?! ? , '
  '; : ( ) [ ] { } / \\ * ** _ __ ~ ^ | + = < > '
  '<< >> " \' ` `` \'\' \u201c \u201d \u2018 \u2019 '
  '\xab \xbb \u2013 \u2014 \u2026 \xbd \xbc \u20ac \xa3 '
  '\xa2 \xb0 \xe9 na\xefve caf\xe9 ma\xf1ana \xdcber \xdf \u65e5\u672c '
  "\U0001f600 \u200b don\u2019t it\u2019s l'eau d'or O'Neil Shi'ite ma'am "
  'S&P-500 pro-life anti-war -LRB- &lt; &gt; &quot; &apos; &nbsp; &#39; &eacute; &mdash; i.e. '
  'e.g. Ph.D. PhD a.k.a. Pty. co. 5\'10" 6" 20ft 2nd A.B.C a.b.c. ca. prop. Calif. Miss. ill. '
  "Ill. B. b. c. canada-u.s. U.S.-U.K. ltd 's n't 'll \u2019til 'cause s'mores nor'easter Cap'n "
  "c'est A+B&C 12\xbd e\u0301 \u0939\u093f co\xadop *NL*"
)
_SIGNS = '.,\'"-/&;:!?()@#$%*+=<>[]{}_^|~`\\\xa0\u2019\u2026'
_LONG = (
  '1 1/2', '(555) 555-1234', '. . .', '555 555 1234', '+49 555 5551 234', 'Pty. Ltd.', 'ca. 5'
)  # fmt: skip


def odd_caption(draw: random.Random) -> str:
  """Makes a caption of words, odd words and signs."""
  parts = []
  for _ in range(draw.randint(1, 12)):
    pool = draw.choices((_WORDS.split(), _ODD.split(), _LONG, _SIGNS), (60, 30, 3, 7))[0]
    part = draw.choice(pool)
    if draw.random() < 0.05:
      place = draw.randrange(len(part) + 1)
      part = part[:place] + draw.choice(_SIGNS) + part[place:]
    parts += [part, draw.choices((' ', '', ', ', '. ', '.', '-'), (85, 5, 3, 3, 2, 2))[0]]
  return ''.join(parts)


def odd_images(seed: int, images: int) -> tuple[dict[int, str], dict[int, list[str]]]:
  """Makes ({image: candidate}, {image: five references}); the candidate of image 1 is empty."""
  draw = random.Random(seed)
  references = {image: [odd_caption(draw) for _ in range(5)] for image in range(images)}
  candidates = {}
  for image, captions in references.items():
    words = draw.choice(captions).split()
    kept = ' '.join(word for word in words if draw.random() < 0.8)
    candidates[image] = kept + draw.choice(_SIGNS)
  candidates[1] = ''
  return candidates, references


def missing() -> str:
  """Returns why the official program cannot run; an empty text if it can."""
  if importlib.util.find_spec('pycocoevalcap') is None:
    return 'pycocoevalcap is not installed'
  return '' if shutil.which('java') else 'there is no java'


def java_token_lines(text: str, folder) -> list[str]:
  """Returns the lines that the official tokenizer prints."""
  from pycocoevalcap.tokenizer import ptbtokenizer

  (path := pathlib.Path(folder) / 'text').write_bytes(text.encode())
  jar = os.path.join(os.path.dirname(ptbtokenizer.__file__), JAR)
  command = ['java', '-cp', jar, 'edu.stanford.nlp.process.PTBTokenizer', '-preserveLines']
  done = subprocess.run([*command, '-lowerCase', path], capture_output=True, check=True)
  return done.stdout.decode().split('\n')


def official_scores(candidates, references, meteor=True) -> dict:
  """Returns {'tokens', 'means', 'by_image'} of pycocoevalcap."""
  from pycocoevalcap.bleu.bleu import Bleu
  from pycocoevalcap.cider.cider import Cider
  from pycocoevalcap.meteor.meteor import Meteor
  from pycocoevalcap.rouge.rouge import Rouge
  from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

  found, means, by_image = {}, {}, {}
  for name, texts in (
    ('candidates', {image: [text] for image, text in candidates.items()}),
    ('references', references),
  ):
    rows = {image: [{'caption': text} for text in captions] for image, captions in texts.items()}
    found[name] = PTBTokenizer().tokenize(rows)
  scorers = {'CIDEr': Cider(), 'ROUGE_L': Rouge()} | ({'METEOR': Meteor()} if meteor else {})
  for name, scorer in scorers.items():
    means[name], by_image[name] = scorer.compute_score(found['references'], found['candidates'])
  with contextlib.redirect_stdout(io.StringIO()):
    over_all, each = Bleu(4).compute_score(found['references'], found['candidates'])
  for order in range(4):
    means[f'Bleu_{order + 1}'], by_image[f'Bleu_{order + 1}'] = over_all[order], each[order]
  return {
    'tokens': found,
    'means': {name: float(mean) for name, mean in means.items()},
    'by_image': {name: [float(score) for score in scores] for name, scores in by_image.items()},
  }


def main():
  draw = random.Random(0)
  texts = [*_ODD.split(), *_LONG, *(odd_caption(draw) for _ in range(300))]
  lines = java_token_lines('\n'.join(texts), GOLDENS)
  (GOLDENS / 'text').unlink()
  candidates, references = odd_images(1, 50)
  content = {
    'tokenizer.json': [list(pair) for pair in zip(texts, lines, strict=True)],
    'captions.json': {
      'candidates': candidates, 'references': references, **official_scores(candidates, references)
    },
  }  # fmt: skip
  for name, value in content.items():
    (GOLDENS / name).write_text(json.dumps(value, indent=0) + '\n')


if __name__ == '__main__':
  main()
