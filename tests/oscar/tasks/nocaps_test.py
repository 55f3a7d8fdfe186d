"""NoCaps: constraints of a split, what is said about its files, domains and the server's file."""

import json

import numpy as np
import pytest

from oscar.datasets import nocaps as reader
from oscar.decoding.constrained import machine
from oscar.metrics import captions as metrics
from oscar.tasks import captioning, nocaps
from tests.oscar import loaders

FOLDER = loaders.DATA / 'coco_caption'
IMAGES = ['316412', '215068', '179260', '127532']


def open_split(folder):
  return reader.NoCaps(folder / 'test.yaml')


def test_the_constraints_of_the_official_files(tokenizer):
  found = nocaps.open_constraints(open_split(FOLDER), tokenizer, 10)
  assert found.names == (
    ('pizza',), ('animal', 'dog', 'fire hydrant'), ('dog', 'pizza', 'cake'), ()
  )  # fmt: skip
  assert [each.given for each in found.machines] == [1, 3, 3, 0]
  assert found.notes == ()
  specific = nocaps.open_constraints(open_split(FOLDER), tokenizer, 10, suppress_general=True)
  assert specific.names[1] == ('dog', 'fire hydrant')


def test_the_peculiarities_of_files_are_said(data, tokenizer):
  folder = data / 'coco_caption'
  boxes = [
    {'class': name, 'conf': score, 'rect': [0, 0, 9, 9]}
    for name, score in (
      ('Zebra', 0.9), ('Luggage and bags', 0.8), ('Luggage', 0.7), ('Dog', 0.2), ('Person', 1.0)
    )
  ]  # fmt: skip
  (folder / 'test.cbs_box.tsv').write_text(f'{IMAGES[0]}\t{json.dumps(boxes)}\n')
  (folder / 'cbs_tokenforms.tsv').write_text('zebra\t\u9f8d\n')
  with open(folder / 'cbs_constraint2tokens.tsv', 'a') as file:
    file.write('zebra\tzebra\n')
  split = open_split(folder)
  found = nocaps.open_constraints(split, tokenizer, 10)
  assert found.names == (('zebra', 'luggage'), (), (), ())
  hierarchy, words, long, forms, boxes = found.notes
  lacking = 'detected classes are not in the tree; they count as specific'
  assert hierarchy == f"{split.files['cbs_hierarchy']}: 3 {lacking} (first: 'zebra')."
  assert words.startswith(f'{split.files["cbs_constraint"]}: 1 constraints have a word that')
  assert words.endswith("(first: 'luggage').")
  assert 'the first 4 count, as officially' in long  # The small vocabulary has few words.
  assert "can't be met (first: 'zebra')" in forms and forms.startswith(str(folder))
  assert boxes.endswith(f'it is one constraint (first: {IMAGES[0]!r}).')


def test_long_constraints_are_said(tokenizer):
  words = machine.ConstraintWords(
    FOLDER / 'cbs_constraint2tokens.tsv', FOLDER / 'cbs_tokenforms.tsv', tokenizer
  )
  (note,) = nocaps._length_notes(words, [('dog', 'fire hydrant')], 2)
  assert note == (
    "--max_gen_length=2: 1 constraints do not fit into captions of 1 word piece, and can't be met "
    "(first: 'fire hydrant')."
  )
  assert nocaps._length_notes(words, [('dog', 'fire hydrant')], 3) == []


def records(captions=('a cat', 'a dog', 'a bird', 'a cow')):
  return [
    {'image_id': key, 'captions': [{'caption': text, 'conf': 0.5}]}
    for key, text in zip(IMAGES, captions, strict=True)
  ]


def test_records_tell_what_is_met(tokenizer):
  made = records()
  constraints = nocaps.open_constraints(open_split(FOLDER), tokenizer, 10)
  rows = {'row': np.array([2, 0, 1, 3]), 'constraints_met': np.array([3, 0, 2, 0])}
  nocaps.add_constraints(made, rows, constraints, 2)
  assert [record['constraints_met'] for record in made] == [0, 2, 3, 0]
  assert [record['constraints_asked'] for record in made] == [1, 2, 2, 0]
  assert made[0]['note'].startswith('0 of the 1 constraints') and 'note' not in made[1]
  assert nocaps.summary(made) == (
    'Constraints: 3 of 4 images have some; as many as asked for are met in 2, fewer in 1 '
    "(first: '316412')."
  )


@pytest.fixture
def annotated(data):
  """Writes annotations of the images; returns function(change) -> the split's YAML file."""
  folder = data / 'coco_caption'

  def write(change=lambda content: None, name='nocaps_test_image_info.json'):
    domains = ['in-domain', 'out-domain', 'out-domain', 'in-domain']
    content = {
      'images': [
        {'id': 10 - i, 'open_images_id': key, 'domain': domain}
        for i, (key, domain) in enumerate(zip(IMAGES, domains, strict=True))
      ]
    }
    change(content)
    (folder / name).write_text(json.dumps(content))
    nocaps.annotations_of.cache_clear()
    return str(folder / 'test.yaml')

  return write


def test_domains_are_scored_as_data_sets_of_their_own(annotated):
  yaml_file = annotated()
  split = nocaps.open_split(yaml_file, 2054, with_constraints=False)
  text = {caption.image_id: caption.caption for caption in split.captions}
  made = records([text[key] if i % 2 else 'a cat' for i, key in enumerate(IMAGES)])
  evaluate = lambda *arguments: captioning.evaluate(*arguments, java=False)  # noqa: E731
  found = nocaps.domain_scores(yaml_file, split, made, evaluate)
  assert {name.partition('/')[2] for name in found} == {'in-domain', 'out-domain'}
  inside = [IMAGES[0], IMAGES[3]]
  references = {key: [c.caption for c in split.captions if c.image_id == key] for key in inside}
  candidates = {r['image_id']: r['captions'][0]['caption'] for r in made if r['image_id'] in inside}
  means = metrics.evaluate(candidates, references, 'in-domain', java=False).means
  assert {name: found[f'{name}/in-domain'] for name in means} == means
  lines = nocaps.domain_table({**{name: 0.5 for name in means}, **found}).splitlines()
  assert [line.split()[0] for line in lines] == ['x', 'in-domain', 'out-domain', 'overall']
  assert nocaps.domain_table(means) == ''
  bare = annotated(lambda content: [image.pop('domain') for image in content['images']])
  assert nocaps.domain_scores(bare, split, made, evaluate) == {}


def test_the_servers_file_is_checked(annotated, tmp_path):
  yaml_file, path = annotated(), tmp_path / 'x.server.json'
  assert nocaps.write_server_file(yaml_file, records(), str(path)) == f"For NoCaps' server: {path}"
  assert json.loads(path.read_text()) == [
    {'image_id': 10 - i, 'caption': text}
    for i, text in enumerate(('a cat', 'a dog', 'a bird', 'a cow'))
  ]
  line = nocaps.write_server_file(yaml_file, records()[1:], str(path))
  assert line.startswith("No file for NoCaps' server: 1 of the 4 images of nocaps_test_image_info")
  assert not path.exists()
  with pytest.raises(ValueError, match="two captions of image '316412'"):
    nocaps.write_server_file(yaml_file, records() + records()[:1], str(path))
  other = [{'image_id': 'other', 'captions': [{'caption': 'a', 'conf': 1}]}]
  with pytest.raises(ValueError, match="no image 'other'"):
    nocaps.write_server_file(yaml_file, records() + other, str(path))
  assert nocaps.write_server_file(str(FOLDER / 'test.yaml'), records(), str(path)) == ''
  assert not path.exists()


def test_references_of_the_annotations(annotated, data):
  folder = data / 'coco_caption'
  path = folder / 'test.yaml'
  text = path.read_text().replace('caption: test_caption.json\n', '')
  path.write_text(text)

  def add(content):
    content['annotations'] = [{'image_id': 8, 'id': 0, 'caption': 'a bird'}]

  yaml_file = annotated(add, 'nocaps_test_4500_captions.json')
  split = nocaps.open_split(yaml_file, 2054, with_constraints=True)
  assert [(c.image_id, c.caption) for c in split.captions] == [(IMAGES[2], 'a bird')]
  yaml_file = annotated(lambda content: content['images'].pop(), 'nocaps_test_4500_captions.json')
  with pytest.raises(ValueError, match="lacks 1 of the 4 images in .* \\(first: '127532'\\)"):
    nocaps.open_split(yaml_file, 2054, with_constraints=True)


@pytest.mark.parametrize(
  'change, message',
  [
    (lambda c: c['images'][0].update(domain='far'), "domain in .*, image 0='far'|'far'"),
    (lambda c: c['images'][1].update(c['images'][0]), "'316412' is described before"),
    (lambda c: c['images'][1].update(id=10), 'two images have the same id'),
    (lambda c: c['images'].append(3), 'images 4 is 3, expected an object'),
    (lambda c: c.update(annotations=[{'image_id': 99, 'caption': 'a'}]), 'image_id 99 is not'),
    (lambda c: c.pop('images'), "'images' is missing"),
  ],
  ids=['domain', 'twice', 'ids', 'row', 'unknown', 'none'],
)
def test_damaged_annotations_raise(annotated, change, message):
  yaml_file = annotated(change)
  with pytest.raises(ValueError, match=message) as error:
    nocaps.annotations_of(yaml_file)
  assert 'nocaps_test_image_info.json' in str(error.value) and '\n' not in str(error.value)
