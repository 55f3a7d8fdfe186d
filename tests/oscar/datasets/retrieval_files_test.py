"""The files and pairs that the flags select equal those of the official loader."""

import dataclasses

import numpy as np
import pytest

from oscar.datasets import retrieval_files
from tests.oscar import loaders

CROSSED = retrieval_files.RetrievalFiles(
  str(loaders.DATA / 'coco_ir'), cross_image_eval=True, num_captions_per_img_val=2
)
KEYS = dataclasses.replace(CROSSED, eval_img_keys_file='test_img_keys.tsv')
RANKED = dataclasses.replace(
  CROSSED, cross_image_eval=False, eval_caption_index_file='minival_caption_indexs_top20.pt',
  num_captions_per_img_val=4,
)  # fmt: skip


def candidates(files, split):
  return files.candidates(files.open(split, evaluated=True))


@pytest.mark.parametrize(
  'files, split, name',
  [(KEYS, 'test', 'test_cross_image'), (RANKED, 'minival', 'minival_rerank')],
  ids=['crossed', 'ranked'],
)
def test_pairs_and_labels_are_the_official_ones(files, split, name, tokenizer):
  found, expected = candidates(files, split), loaders.OUTPUTS[f'retrieval/{name}']
  labels = np.concatenate([found.matches(i) for i in range(len(found.image_ids))])
  assert labels.astype(int).tolist() == [item[4] for _, item in expected]
  for place, (_, item) in zip(found.of_image.ravel(), expected, strict=True):
    (ids,) = tokenizer.encode_batch([found.captions[place]])
    ids = ids[: loaders.LENGTH - 2]
    assert item[0][1 : len(ids) + 1] == ids


def test_folds_hold_the_captions_of_their_images_only():
  found = candidates(dataclasses.replace(KEYS, eval_folds=2), 'test')
  assert found.of_image.tolist() == [[0, 1, 2, 3]] * 2 + [[4, 5, 6, 7]] * 2
  assert found.matches(2).tolist() == [True, True, False, False] and found.folds == 2
  with pytest.raises(ValueError, match='--eval_folds=3 does not divide the 4 images of .*test_cap'):
    candidates(dataclasses.replace(KEYS, eval_folds=3), 'test')


def test_the_first_images_alone():
  found = candidates(dataclasses.replace(CROSSED, num_eval_images=2), 'test')
  assert len(found.image_ids) == 2 and found.of_image.shape == (2, 4)
  found = candidates(dataclasses.replace(RANKED, num_eval_images=2), 'minival')
  assert found.of_image.shape == (2, 4) and set(found.owner.tolist()) == {-1, 0, 1}
  reader = dataclasses.replace(CROSSED, num_eval_images=2).open('test')
  assert len(reader.image_ids) == 5  # Training and the like take all.


def test_features_and_tags_of_another_folder(data):
  folder = data / 'features'
  folder.mkdir()
  for path in (data / 'coco_ir').glob('*'):
    if path.name.startswith(('features', 'predictions')):
      path.rename(folder / path.name)  # Without imageid2idx.json: keys are read from the rows.
  files = retrieval_files.RetrievalFiles(
    str(data / 'coco_ir'), str(folder / 'features.tsv'), cross_image_eval=True
  )
  reader = files.open('train')
  assert reader.regions['398288'].shape[1] == 2054 and reader.tags('398288')
  (folder / 'predictions.tsv').unlink()
  reader = files.open('train')  # Tags may be missing where none are used.
  with pytest.raises(FileNotFoundError, match='predictions.tsv does not exist'):
    reader.tags('398288')


def test_too_few_captions_are_named():
  with pytest.raises(ValueError, match='test_captions.pt: image .* has 2 captions, expected 5'):
    candidates(dataclasses.replace(CROSSED, num_captions_per_img_val=5), 'test')
