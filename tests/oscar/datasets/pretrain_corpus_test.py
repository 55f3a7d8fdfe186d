"""The corpus equals the official loader's; damaged files raise."""

import json

import pytest

from oscar.datasets import pretrain_corpus, tsv
from tests.oscar import loaders

STEP = json.loads((loaders.GOLDENS / 'pretraining_data_step.json').read_text())


@pytest.mark.parametrize('case', STEP['datasets'], ids=lambda case: case['setting'])
def test_pretraining_documents(case):
  use_gtlabels = {**STEP['base_args'], **case['overrides']}['use_gtlabels']
  corpus = pretrain_corpus.PretrainCorpus(
    str(loaders.DATA / 'pretrain' / 'pretrain.yaml'), use_gtlabels=bool(use_gtlabels)
  )
  documents = list(corpus.documents())
  assert [[d.document_id, d.text_a, d.text_b] for d in documents] == case['docs']
  assert {(d.image_height, d.image_width) for d in documents} == {(480, 640)}
  for example in case['examples']:
    regions = corpus.regions[documents[example['index']].image_id]
    loaders.check_regions(loaders.padded(regions)[0][0], example['img_feat'])


def test_chunks_of_the_corpus_can_be_chosen():
  path = str(loaders.DATA / 'pretrain' / 'pretrain.yaml')
  corpus = pretrain_corpus.PretrainCorpus(path, chunks=[1])
  images = [document.image_id for document in corpus.documents()]
  assert [image for image in images if image.startswith('cc')] == ['cc_1_407809', 'cc_1_215068']
  assert len(images) == 11
  assert 'cc_0_594550' not in corpus.regions


def corpus(data, **kwargs):
  return pretrain_corpus.PretrainCorpus(str(data / 'pretrain' / 'pretrain.yaml'), **kwargs)


@pytest.mark.parametrize(
  ('row', 'message'),
  [
    (b'coco_train_398288\tcoco_398288\t\n', 'corpus.tsv row 13: text_a of .* is empty'),
    (b'coco_train_1\tcoco_1\tA man.\n', "corpus.tsv row 13: image 'coco_train_1' has no features"),
    (b'coco_train_398288\tcoco_134026\tA man.\n', 'row 13: .* differ in image'),
    (b'coco_train_398288\tgqa_398288\tA man.\n', 'row 13: .* differ in data set'),
    (
      b'coco_train_398288\tcoco_qa_398288_9\tA man.\n',
      "row 13: '9' is not among the 3 keys of .*QA_fileB",
    ),
    (b'coco_train_398288\n', 'corpus.tsv row 13: 1 columns, expected at least 2'),
    (b'cc_9\tcc_9\tA man.\n', "image id 'cc_9' has 2 words; expected data set_chunk_key"),
  ],
)
def test_a_damaged_row_raises(data, row, message):
  path = data / 'pretrain' / 'corpus.tsv'
  path.write_bytes(path.read_bytes().rstrip(b'\n') + b'\n' + row)
  tsv.write_lineidx(path)
  with pytest.raises(ValueError, match=message):
    list(corpus(data).documents())


def test_rows_of_other_data_sets_are_skipped(data):
  path = data / 'pretrain' / 'corpus.tsv'
  path.write_bytes(path.read_bytes() + b'gqa_1_2\tgqa_2\tA man.\n')
  tsv.write_lineidx(path)
  assert len(list(corpus(data).documents())) == 13


def test_a_wrong_description_raises(data):
  path = data / 'pretrain' / 'pretrain.yaml'
  text = path.read_text()
  path.write_text(text.replace('coco_googlecc', 'coco_googelcc'))
  with pytest.raises(ValueError, match="'googelcc': did you mean googlecc"):
    corpus(data)
  path.write_text(text.replace('feats/googlecc', 'feats/none'))
  with pytest.raises(FileNotFoundError, match='none has no features.tsv of googlecc'):
    corpus(data)


def test_an_index_of_another_label_file_raises(data):
  loaders.edit(
    data / 'pretrain/coco_labels/imageid2idx.json', lambda index: index.update({'398288': 1})
  )
  with pytest.raises(
    ValueError, match="predictions_gt.tsv row 1, key '398288': the row holds '134026'"
  ):
    list(corpus(data).documents())


def test_questions_without_a_file_of_answers_raise(data):
  (data / 'pretrain' / 'coco_labels' / 'QA_fileB.tsv').unlink()
  with pytest.raises(
    FileNotFoundError, match='is a question, but .*coco_labels has no QA_fileB.tsv'
  ):
    list(corpus(data).documents())


def test_an_index_of_text_raises(data):
  loaders.edit(
    data / 'pretrain/coco_labels/imageid2idx.json', lambda index: index.update({'398288': '0'})
  )
  with pytest.raises(ValueError, match='coco_labels/imageid2idx.json: expected JSON {key: row'):
    corpus(data)


def test_an_image_id_of_one_word_raises(data):
  path = data / 'pretrain' / 'corpus.tsv'
  path.write_bytes(path.read_bytes() + b'coco\tcoco_398288\tA man.\n')
  tsv.write_lineidx(path)
  with pytest.raises(ValueError, match="corpus.tsv row [0-9]+: image id 'coco' has 1 words"):
    list(corpus(data).documents())
