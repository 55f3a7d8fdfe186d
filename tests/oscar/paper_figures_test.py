"""Figure 4: a map of tags and regions from a checkpoint."""
import json

import numpy as np
import pytest

import oscar
from oscar import checkpoints, paper_figures, paper_tables
from oscar.datasets import features
from oscar.demo_page import maps
from tests import script_jobs

TAGS = ['dog', 'traffic light']


@pytest.fixture
def model(tmp_path):
  """Writes the export of a tiny model; returns its folder."""
  words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'a', 'dog', 'traffic', 'light']
  vocabulary = tmp_path / 'vocab.txt'
  vocabulary.write_text('\n'.join(words))
  config = oscar.OscarConfig(
    vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=32,
  )  # fmt: skip
  folder = str(tmp_path / 'export')
  checkpoints.save(
    oscar.build_model(config, 'retrieval'), oscar.Tokenizer(str(vocabulary)), folder
  )
  return folder


@pytest.fixture
def data(tmp_path):
  """Writes official files of COCO retrieval: three images, each with a dog and a traffic light."""
  folder = tmp_path / 'coco_ir'
  folder.mkdir()
  rng = np.random.default_rng(0)
  rows = []
  for key in '123':
    boxes = np.tile(np.array([0.1, 0.1, 0.5, 0.5, 0.4, 0.4]), [2, 1])
    regions = np.concatenate([rng.random([2, features.APPEARANCE_DIM]), boxes], axis=1)
    rows.append(f'{key}\t2\t{features.encode(regions.astype(np.float32)).decode()}\n')
  (folder / 'features.tsv').write_text(''.join(rows))
  objects = json.dumps([{'class': tag} for tag in TAGS])
  (folder / 'predictions.tsv').write_text(''.join(f'{key}\t{objects}\n' for key in '123'))
  (folder / 'val_captions.json').write_text(json.dumps({key: ['a dog'] for key in '123'}))
  return str(folder)


def test_a_map_of_official_files(model, data, tmp_path, capsys):
  lines = script_jobs.in_process(
    paper_tables.SCRIPT, '--tables=Shared-object statistic', f'--figure_4={model}',
    f'--figure_4_data={data}', f'--output_dir={tmp_path}',
  )  # fmt: skip
  assert list(lines) == ['Shared-object statistic']
  assert (tmp_path / 'figure_4.png').read_bytes().startswith(b'\x89PNG')
  assert 'figure_4.png' in capsys.readouterr().out


def test_tags_of_several_word_pieces_are_one_point_each(model, data):
  examples = paper_figures.examples_of(data, 2)
  assert [example[:3] for example in examples] == [(key, 'a dog', TAGS) for key in '12']
  points = maps.draw(model, examples)['points']
  kinds = [tuple(point[2:]) for point in points]
  expected = [(kind, tag, '1', n) for kind in ('tag', 'region') for n, tag in enumerate(TAGS)]
  assert kinds[:4] == expected and len(kinds) == 8
  short = maps.draw(model, examples, max_seq_length=7)['points']  # [CLS] a dog [SEP] dog light.
  assert [tuple(point[2:4]) for point in short if point[2] == 'tag'] == [('tag', 'dog')] * 2


@pytest.mark.parametrize(
  'flags, message',
  [
    (['--figure_4=EXPORT'], '--figure_4 needs --output_dir'),
    (['--figure_4_data=DATA', '--output_dir=OUT'], '--figure_4_data is for --figure_4'),
    (['--figure_4=/nowhere', '--output_dir=OUT'], '--figure_4=/nowhere'),
  ],
)
def test_bad_flags_are_one_clear_line(flags, message):
  with pytest.raises(ValueError, match=message) as error:
    script_jobs.in_process(paper_tables.SCRIPT, *flags)
  assert '\n' not in str(error.value)


def test_a_folder_without_captions_is_named(tmp_path):
  with pytest.raises(ValueError, match='holds no test_captions.pt or val_captions.pt'):
    paper_figures.examples_of(str(tmp_path), 1)
