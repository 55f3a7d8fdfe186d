"""Writes scenes in the official layouts, for the readers of `oscar.datasets`.

All tasks link to one file of region features. Two formats differ from the official ones: a TSV file
of the same name replaces a torch file of features, and retrieval captions are JSON. Rows of VQA,
GQA and NLVR2 have the text's `kind` as an additional field.
"""

import collections
import json
import os
import pickle
from collections.abc import Mapping, Sequence

from oscar.datasets import features, region_extraction, tsv
from oscar.scenes import constraints
from oscar.scenes.corpus import Image
from oscar.scenes.statements import Statement

# Official names of the files of a split: questions of VQA, of GQA, statements.
QUESTION_FILES = {
  split: {
    'vqa': f'vqa/{split}2014_qla_mrcnn.json',
    'gqa': f'gqa/gqa_bal_qla_{split}.json',
    'nlvr2': f'nlvr2/nlvr2_{name}.json',
  }
  for split, name in (('train', 'train'), ('val', 'dev'))
}
# Files of {answer: number}.
LABEL_FILES = {
  'vqa': 'vqa/cache/trainval_ans2label.pkl',
  'gqa': 'gqa/trainval_testdev_all_ans2label.pkl',
}

_IDS_PER_IMAGE = 1000  # Question ids are the image's number times this, and up, as in VQA.
_FEATURES = 'features'  # Folder of all images' features.


def write(
  folder: str,
  splits: Mapping[str, Sequence[Image]],
  statements: Mapping[str, Sequence[Statement]],
) -> None:
  """Writes the files of all tasks.

  Args:
    folder: gets a subfolder for each of `oscar.datasets.builders.BUILDERS`, and one of features.
    splits: images of 'train' and 'val'.
    statements: statements of 'train' and 'val'.
  """
  everything = ((image.key, image.regions) for images in splits.values() for image in images)
  region_extraction.write(os.path.join(folder, _FEATURES), everything)
  _write_pretrain(os.path.join(folder, 'pretrain'), splits)
  _write_captions(os.path.join(folder, 'coco_caption'), splits)
  _write_nocaps(folder, splits['val'])
  _write_retrieval(os.path.join(folder, 'coco_retrieval'), splits)
  _write_vqa(os.path.join(folder, 'vqa'), splits)
  _write_gqa(os.path.join(folder, 'gqa'), splits)
  _write_nlvr2(os.path.join(folder, 'nlvr2'), splits, statements)


def _link_features(folder, stem='features'):
  """Links features.tsv and its offsets into a task's folder as STEM.tsv and STEM.lineidx."""
  for ending in ('tsv', 'lineidx'):
    _link(os.path.join(folder, f'{stem}.{ending}'), f'../{_FEATURES}/features.{ending}')


def _link(path, target):
  os.makedirs(os.path.dirname(path), exist_ok=True)
  os.symlink(target, path)


def _write_pretrain(folder, splits):
  """Writes captions with tags, and the questions of VQA and GQA with answers."""
  _link_features(folder)
  _link(os.path.join(folder, 'imageid2idx.json'), f'../{_FEATURES}/imageid2idx.json')
  for ending in ('tsv', 'lineidx'):
    target = f'../{_FEATURES}/predictions.{ending}'
    _link(os.path.join(folder, f'predictions_gt.{ending}'), target)
  answers = []
  for split, images in splits.items():
    with tsv.TsvWriter(os.path.join(folder, f'{split}.corpus.tsv')) as corpus:
      for image in images:
        for caption in image.captions:
          corpus.write(f'coco_{split}_{image.key}', f'coco_{image.key}', caption)
        for question in image.vqa + image.gqa:
          label = f'coco_qa_{image.key}_{len(answers)}'
          corpus.write(f'coco_{split}_{image.key}', label, question.text)
          answers.append(list(question.answers))
    with open(os.path.join(folder, f'{split}.yaml'), 'w', encoding='utf-8') as file:
      file.write(f'corpus: coco\ncorpus_file: {split}.corpus.tsv\n')
      file.write('image_label_path: {coco: .}\nimage_feature_path: {coco: .}\n')
  with tsv.TsvWriter(os.path.join(folder, 'QA_fileB.tsv')) as file:
    for number, labels in enumerate(answers):
      file.write(number, json.dumps({'labels': labels}))
  rows = {str(number): number for number in range(len(answers))}
  _write_json(os.path.join(folder, 'QA_qaid2idx.json'), rows)


def _write_captions(folder, splits):
  os.makedirs(folder)
  for split, images in {**splits, 'seen': _without_novel(splits['train'])}.items():
    stem = os.path.join(folder, split)
    with (
      tsv.TsvWriter(f'{stem}.feature.tsv') as regions,
      tsv.TsvWriter(f'{stem}.label.tsv') as labels,
    ):
      for image in images:
        detected = image.regions
        encoded = features.encode(detected.features).decode('ascii')
        regions.write(
          image.key, json.dumps({'num_boxes': len(detected.tags), 'features': encoded})
        )
        labels.write(image.key, json.dumps(detected.objects()))
    annotations = [(image.key, caption) for image in images for caption in image.captions]
    rows = [
      {'image_id': key, 'id': number, 'caption': caption}
      for number, (key, caption) in enumerate(annotations)
    ]
    _write_json(f'{stem}_caption.json', rows)
    _write_json(
      f'{stem}_caption_coco_format.json',
      {
        'annotations': rows, 'images': [{'id': i.key, 'file_name': i.key} for i in images],
        'type': 'captions', 'info': 'scenes', 'licenses': 'scenes',
      },
    )  # fmt: skip
    with open(f'{stem}.yaml', 'w', encoding='utf-8') as file:
      file.write(f'feature: {split}.feature.tsv\nlabel: {split}.label.tsv\n')
      file.write(f'caption: {split}_caption.json\n')


def _without_novel(images):
  return [
    image for image in images if constraints.domain(image.scene) == 'in-domain'
  ]


def _write_nocaps(root, images):
  """Writes the validation images again, with detections that may become constraints."""
  folder = os.path.join(root, 'nocaps')
  names = ('val.feature.tsv', 'val.feature.lineidx', 'val.label.tsv', 'val.label.lineidx')
  for name in (*names, 'val_caption.json', 'val_caption_coco_format.json'):
    _link(os.path.join(folder, name), f'../coco_caption/{name}')
  with tsv.TsvWriter(os.path.join(folder, 'val.cbs_box.tsv')) as boxes:
    for image in images:
      boxes.write(image.key, json.dumps(constraints.detections(image.scene, image.regions)))
  theme = images[0].scene.theme
  forms = constraints.word_forms(theme)
  with tsv.TsvWriter(os.path.join(folder, 'cbs_constraint2tokens.tsv')) as file:
    for word in forms:
      file.write(word, word)
  with tsv.TsvWriter(os.path.join(folder, 'cbs_tokenforms.tsv')) as file:
    for word, accepted in forms.items():
      file.write(word, ','.join(accepted))
  _write_json(os.path.join(folder, 'cbs_hierarchy.json'), constraints.hierarchy(theme))
  rows = [
    {'id': number, 'open_images_id': image.key, 'domain': constraints.domain(image.scene)}
    for number, image in enumerate(images)
  ]
  _write_json(os.path.join(folder, 'nocaps_val_image_info.json'), {'images': rows})
  with open(os.path.join(folder, 'val.yaml'), 'w', encoding='utf-8') as file:
    file.write('feature: val.feature.tsv\nlabel: val.label.tsv\ncaption: val_caption.json\n')
    file.write('cbs_box: val.cbs_box.tsv\ncbs_constraint: cbs_constraint2tokens.tsv\n')
    file.write('cbs_tokenforms: cbs_tokenforms.tsv\ncbs_hierarchy: cbs_hierarchy.json\n')


def _write_retrieval(folder, splits):
  _link_features(folder)
  for name in ('predictions.tsv', 'predictions.lineidx', 'imageid2idx.json'):
    _link(os.path.join(folder, name), f'../{_FEATURES}/{name}')
  for split, images in splits.items():
    captions = {image.key: image.detailed for image in images}
    _write_json(os.path.join(folder, f'{split}_captions.json'), captions)
    with open(os.path.join(folder, f'{split}_img_keys.tsv'), 'w', encoding='ascii') as file:
      file.writelines(f'{image.key}\n' for image in images)


def _write_vqa(folder, splits):
  os.makedirs(os.path.join(folder, 'cache'))
  label_of = _write_answers(
    os.path.join(folder, 'cache', 'trainval'),
    [image.vqa for images in splits.values() for image in images],
  )
  for split, images in splits.items():
    _link_features(folder, f'{split}_img_frcnn_feats')
    rows = _question_rows(images, 'vqa', label_of)
    for row, question in rows:
      row['s'] = list(question.answers.values())
    _write_annotations(folder, split, rows)
    _write_json(_question_file(folder, split, 'vqa'), [row for row, _ in rows])


def _write_annotations(folder, split, rows):
  """Writes the raw files of VQA: questions, and the answers of ten annotators to each."""
  asked, answered = [], []
  for row, question in rows:
    ids = {'image_id': int(row['img_id']), 'question_id': row['q_id']}
    asked.append({**ids, 'question': question.text})
    answers = question.annotations()
    most_frequent = max(answers, key=answers.count)
    answered.append({
      **ids,
      'question_type': question.kind,
      'answer_type': _answer_type(most_frequent),
      'multiple_choice_answer': most_frequent,
      'answers': [{'answer': a, 'answer_id': number} for number, a in enumerate(answers, 1)],
    })
  path = os.path.join(folder, f'v2_OpenEnded_mscoco_{split}2014_questions.json')
  _write_json(path, {'questions': asked})
  path = os.path.join(folder, f'v2_mscoco_{split}2014_annotations.json')
  _write_json(path, {'annotations': answered})


def _answer_type(answer):
  """Returns VQA's type of an answer."""
  if answer in ('yes', 'no'):
    return 'yes/no'
  return 'number' if answer.isdecimal() else 'other'


def _write_gqa(folder, splits):
  _link_features(folder, 'gqa_img_frcnn_feats')
  label_of = _write_answers(
    os.path.join(folder, 'trainval_testdev_all'),
    [image.gqa for images in splits.values() for image in images],
  )
  for split, images in splits.items():
    rows = [row for row, _ in _question_rows(images, 'gqa', label_of)]
    _write_json(_question_file(folder, split, 'gqa'), rows)


def _question_file(folder, split, task):
  return os.path.join(os.path.dirname(folder), QUESTION_FILES[split][task])


def _question_rows(images, task, label_of):
  """Returns [(official row without scores, `Question`)]; ids differ between splits, too."""
  rows = []
  for image in images:
    tags = ';'.join(image.tags)
    for number, question in enumerate(getattr(image, task)):
      row = {
        'q': question.text, 'o': tags, 'img_id': image.key,
        'q_id': int(image.key) * _IDS_PER_IMAGE + number,
        'an': [label_of[answer] for answer in question.answers], 'kind': question.kind,
      }  # fmt: skip
      rows.append((row, question))
  return rows


def _write_answers(stem, asked):
  """Writes STEM_ans2label.pkl (returned) and STEM_label2ans.pkl, frequent answers first."""
  counts = collections.Counter(
    answer for questions in asked for question in questions for answer in question.answers
  )
  answers = sorted(counts, key=lambda answer: (-counts[answer], answer))
  label_of = {answer: label for label, answer in enumerate(answers)}
  for name, value in (('ans2label', label_of), ('label2ans', answers)):
    with open(f'{stem}_{name}.pkl', 'wb') as file:
      pickle.dump(value, file, protocol=2)
  return label_of


def _write_nlvr2(folder, splits, statements):
  _link_features(folder, 'nlvr2_img_frcnn_feats')
  for split, name in (('train', 'train'), ('val', 'dev')):
    tags = {image.key: ' '.join(image.tags) for image in splits[split]}
    rows = [
      {
        'q': s.text,
        'o': {'left': tags[s.keys[0]], 'right': tags[s.keys[1]]},
        'img_id': {'left': s.keys[0], 'right': s.keys[1]},
        'label': s.label,
        'identifier': s.identifier(name),
        'kind': s.kind,
      }
      for s in statements[split]
    ]
    _write_json(_question_file(folder, split, 'nlvr2'), rows)


def _write_json(path, value):
  with open(path, 'w', encoding='utf-8') as file:
    json.dump(value, file)
