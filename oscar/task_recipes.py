"""Published fine-tuning and test commands for the tasks of OSCAR and Oscar+, with their sources.

Commands of microsoft/Oscar (266075f), MODEL_ZOO.md and VinVL_MODEL_ZOO.md, under the official
names of flags, with the official defaults that affect results. Paths are part of `command`; flags
without effect (`-j`, `--model_type`, `--task_name`) are omitted. `per_gpu_train_batch_size` is for
the number of GPUs that `cost` states. `paper` notes where the paper's appendix A differs from the
published command.
"""
from typing import Any

from tpu_utils.command_line.recipes import Recipe, by_name

_ZOO = 'microsoft/Oscar, MODEL_ZOO.md'
_VINVL = 'microsoft/Oscar, VinVL_MODEL_ZOO.md'
_CAPTIONS = 566_435  # 113,287 images of COCO with five captions each.
_QUESTIONS = 444_000  # VQA's training split, Table 5.
_STATEMENTS = 86_373  # NLVR2's training split.
_LAYERS_AND_WIDTH = {'base': (12, 768), 'large': (24, 1024)}


def training_work(size: str, positions: int, examples: int) -> str:
  """Estimates the multiply-adds of training, three times those of the encoder's forward pass.

  Args:
    size: 'base' or 'large'.
    positions: length of a sequence, words and regions.
    examples: number of sequences in the whole training.

  Returns:
    A text for a recipe's `cost`.
  """
  layers, width = _LAYERS_AND_WIDTH[size]
  forward = layers * (12 * positions * width**2 + 2 * positions**2 * width)
  return f'estimated: {3 * forward * examples:.1e} multiply-adds, not timed'


def command(script: str, name: str, start: str = 'CHECKPOINT') -> str:
  """Returns the command that trains the recipe `name` from the weights `start`."""
  return (
    f'python -m {script} --recipe={name} --model_name_or_path={start} --data_dir=DATA '
    '--output_dir=RUN'
  )


def _test_command(script, name):
  return f'python -m {script} --recipe={name} --eval_model_dir=CHECKPOINT --data_dir=DATA'


_OPTIMIZATION: dict[str, Any] = {  # Defaults of every fine-tuning script.
  'adam_epsilon': 1e-8,
  'max_grad_norm': 1.0,
  'warmup_steps': 0,
  'gradient_accumulation_steps': 1,
}
RETRIEVAL = Recipe(
  name='retrieval',
  script='oscar.run_retrieval',
  paper='microsoft/Oscar, defaults of run_retrieval.py',
  settings={
    **_OPTIMIZATION,
    'num_captions_per_img_train': 5,
    'num_captions_per_img_val': 5,
    'add_od_labels': False,
    'att_mask_type': 'CLR',
    'max_seq_length': 70,
    'max_img_seq_length': 50,
    'img_feature_type': 'frcnn',
    'use_img_layernorm': 1,
    'img_layer_norm_eps': 1e-12,
    'per_gpu_train_batch_size': 32,
    'per_gpu_eval_batch_size': 64,
    'num_train_epochs': 20,
    'learning_rate': 2e-5,
    'scheduler': 'linear',
    'weight_decay': 0.05,
    'drop_out': 0.1,
    'loss_type': 'sfmx',
    'num_labels': 2,
    'seed': 88,
  },
  command=command('oscar.run_retrieval', 'retrieval'),
  expects='none; the published command is `retrieval_base`',
  cost=training_work('base', 120, 2 * 20 * _CAPTIONS),
)
RETRIEVAL_BASE = Recipe(
  name='retrieval_base',
  script='oscar.run_retrieval',
  paper=f'{_ZOO}, Image Text Retrieval; appendix A has 40 epochs in batches of 256',
  settings={
    **_OPTIMIZATION,
    'do_train': True,
    'do_lower_case': True,
    'evaluate_during_training': True,
    'num_captions_per_img_train': 5,
    'num_captions_per_img_val': 20,
    'eval_caption_index_file': 'minival_caption_indexs_top20.pt',
    'add_od_labels': True,
    'od_label_type': 'vg',
    'att_mask_type': 'CLR',
    'max_seq_length': 70,
    'max_img_seq_length': 50,
    'img_feature_type': 'frcnn',
    'img_feature_dim': 2054,
    'use_img_layernorm': 1,
    'img_layer_norm_eps': 1e-12,
    'per_gpu_train_batch_size': 32,
    'num_train_epochs': 30,
    'save_steps': 5000,
    'learning_rate': 2e-5,
    'scheduler': 'linear',
    'weight_decay': 0.05,
    'drop_out': 0.1,
    'loss_type': 'sfmx',
    'num_labels': 2,
    'seed': 88,
  },
  command=command('oscar.run_retrieval', 'retrieval_base'),
  expects=(
    'COCO 5K: text R@1 70.0, image R@1 54.0; 1K: 88.4 and 75.7 % (paper, Table 2a)'
  ),
  cost=f'stated: 4 V100 of 16 GB; {training_work("base", 120, 2 * 30 * _CAPTIONS)}',
)
RETRIEVAL_LARGE = RETRIEVAL_BASE.with_settings(
  'retrieval_large',
  {'per_gpu_train_batch_size': 16, 'learning_rate': 1e-5},
  paper=f'{_ZOO}, Image Text Retrieval; appendix A has 40 epochs in batches of 128',
  expects='COCO 5K: text R@1 73.5, image R@1 57.5; 1K: 89.8 and 78.2 % (paper, Table 2a)',
  cost=f'stated: 8 V100 of 32 GB; {training_work("large", 120, 2 * 30 * _CAPTIONS)}',
)
VINVL_RETRIEVAL_BASE = RETRIEVAL_BASE.with_settings(
  'vinvl_retrieval_base',
  {'per_gpu_train_batch_size': 16, 'max_img_seq_length': 70},
  paper=f'{_VINVL}, Image Text Retrieval',
  expects='COCO 5K: text R@1 74.6, image R@1 58.1 % (VinVL_MODEL_ZOO.md)',
  cost=f'stated: 8 V100 of 16 GB; {training_work("base", 140, 2 * 30 * _CAPTIONS)}',
)
VINVL_RETRIEVAL_LARGE = VINVL_RETRIEVAL_BASE.with_settings(
  'vinvl_retrieval_large',
  {'learning_rate': 7.5e-6},
  paper=f'{_VINVL}, Image Text Retrieval',
  expects='COCO 5K: text R@1 75.4, image R@1 58.8 % (VinVL_MODEL_ZOO.md)',
  cost=f'stated: 8 V100 of 32 GB; {training_work("large", 140, 2 * 30 * _CAPTIONS)}',
)
RETRIEVAL_TEST_1K = Recipe(
  name='retrieval_test_1k',
  script='oscar.run_retrieval',
  paper=f'{_ZOO} and VinVL_MODEL_ZOO.md, Image Text Retrieval, 1K test set',
  settings={
    'do_test': True,
    'do_eval': True,
    'test_split': 'test',
    'num_captions_per_img_val': 5,
    'eval_img_keys_file': 'test_img_keys_1k.tsv',
    'cross_image_eval': True,
    'per_gpu_eval_batch_size': 64,
  },
  command=_test_command('oscar.run_retrieval', 'retrieval_test_1k'),
  expects='text R@1 88.4 (base), 89.8 (large); image R@1 75.7, 78.2 % (paper, Table 2a)',
  cost='evaluation: estimated 5 million pairs of image and text; not timed',
)
RETRIEVAL_TEST_5K = RETRIEVAL_TEST_1K.with_settings(
  'retrieval_test_5k',
  {'eval_img_keys_file': 'test_img_keys.tsv'},
  paper=f'{_ZOO} and VinVL_MODEL_ZOO.md, Image Text Retrieval, 5K test set',
  expects='text R@1 70.0 (base), 73.5 (large); image R@1 54.0, 57.5 % (paper, Table 2a)',
  cost='evaluation: estimated 125 million pairs of image and text; not timed',
)

CAPTIONING = Recipe(
  name='captioning',
  script='oscar.run_captioning',
  paper='microsoft/Oscar, defaults of run_captioning.py',
  settings={
    **_OPTIMIZATION,
    'add_od_labels': False,
    'max_seq_length': 70,
    'max_seq_a_length': 40,
    'max_img_seq_length': 50,
    'img_feature_type': 'frcnn',
    'mask_prob': 0.15,
    'max_masked_tokens': 3,
    'max_gen_length': 20,
    'num_beams': 1,
    'per_gpu_train_batch_size': 64,
    'per_gpu_eval_batch_size': 64,
    'num_train_epochs': 40,
    'learning_rate': 3e-5,
    'scheduler': 'linear',
    'weight_decay': 0.05,
    'drop_out': 0.1,
    'loss_type': 'sfmx',
    'seed': 88,
  },
  command=command('oscar.run_captioning', 'captioning'),
  expects='none; the published command is `captioning_base`',
  cost=training_work('base', 120, 40 * _CAPTIONS),
)
CAPTIONING_BASE = Recipe(
  name='captioning_base',
  script='oscar.run_captioning',
  paper=f'{_ZOO}, Image Captioning, step 1; appendix A has 40 epochs in batches of 256',
  settings={
    **_OPTIMIZATION,
    'do_train': True,
    'do_lower_case': True,
    'evaluate_during_training': True,
    'add_od_labels': True,
    'max_seq_length': 70,
    'max_seq_a_length': 40,
    'max_img_seq_length': 50,
    'img_feature_type': 'frcnn',
    'img_feature_dim': 2054,
    'mask_prob': 0.15,
    'max_masked_tokens': 3,
    'per_gpu_train_batch_size': 64,
    'num_train_epochs': 30,
    'save_steps': 5000,
    'learning_rate': 3e-5,
    'scheduler': 'linear',
    'weight_decay': 0.05,
    'drop_out': 0.1,
    'loss_type': 'sfmx',
    'seed': 88,
  },
  command=command('oscar.run_captioning', 'captioning_base'),
  expects='COCO Karpathy test: B@4 36.5, METEOR 30.3, CIDEr 123.7, SPICE 23.1 (paper, Table 2e)',
  cost=f'stated: 4 V100 of 16 GB; {training_work("base", 120, 30 * _CAPTIONS)}',
)
_SCST: dict[str, Any] = {
  'scst': True,
  'sc_train_sample_n': 5,
  'sc_baseline_type': 'greedy',
  'sc_beam_size': 1,
  'cider_cached_tokens': 'coco-train-words.p',
}
CAPTIONING_BASE_SCST = CAPTIONING_BASE.with_settings(
  'captioning_base_scst',
  {
    **_SCST,
    'per_gpu_train_batch_size': 16,
    'num_train_epochs': 5,
    'save_steps': 2000,
    'learning_rate': 5e-6,
  },
  paper=f'{_ZOO}, Image Captioning, step 2; appendix A has a learning rate of 1e-6',
  expects='COCO Karpathy test: B@4 40.5, METEOR 29.7, CIDEr 137.6, SPICE 22.8 (paper, Table 2e)',
  cost='stated: 4 V100 of 16 GB; not timed, not estimated: sampling of captions dominates',
)
CAPTIONING_LARGE = CAPTIONING_BASE.with_settings(
  'captioning_large',
  {'per_gpu_train_batch_size': 32, 'learning_rate': 1e-5},
  paper=f'{_ZOO}, Image Captioning, step 1; appendix A has batches of 128',
  expects='COCO Karpathy test: B@4 37.4, METEOR 30.7, CIDEr 127.8, SPICE 23.5 (paper, Table 2e)',
  cost=f'stated: 8 V100 of 32 GB; {training_work("large", 120, 30 * _CAPTIONS)}',
)
CAPTIONING_LARGE_SCST = CAPTIONING_BASE_SCST.with_settings(
  'captioning_large_scst',
  {'per_gpu_train_batch_size': 8},
  paper=(
    f'{_ZOO}, Image Captioning, step 2; appendix A has a learning rate of 1e-6 or 5e-7, batches of '
    '48 and 3 epochs'
  ),
  expects='COCO Karpathy test: B@4 41.7, METEOR 30.6, CIDEr 140.0, SPICE 24.5 (paper, Table 2e)',
  cost='stated: 8 V100 of 32 GB; not timed, not estimated: sampling of captions dominates',
)
_VINVL_CAPTIONING: dict[str, Any] = {
  'evaluate_during_training': False,
  'tie_weights': True,
  'freeze_embedding': True,
  'save_steps': -1,
}
_VINVL_CROSS_ENTROPY = {
  **_VINVL_CAPTIONING,
  'num_train_epochs': 60,
  'label_smoothing': 0.1,
  'drop_worst_ratio': 0.2,
  'drop_worst_after': 20_000,
}
VINVL_CAPTIONING_BASE = CAPTIONING_BASE.with_settings(
  'vinvl_captioning_base',
  _VINVL_CROSS_ENTROPY,
  paper=f'{_VINVL}, Image Captioning on COCO, base, step 1',
  expects='none printed before step 2',
  cost=f'stated: 8 V100 of 16 GB; {training_work("base", 120, 60 * _CAPTIONS)}',
)
VINVL_CAPTIONING_BASE_SCST = CAPTIONING_BASE_SCST.with_settings(
  'vinvl_captioning_base_scst',
  {**_VINVL_CAPTIONING, 'num_train_epochs': 75, 'learning_rate': 3e-6},
  paper=f'{_VINVL}, Image Captioning on COCO, base, step 2',
  expects=(
    'COCO Karpathy test: B@4 40.9, METEOR 30.9, CIDEr 140.6 (README; 140.4 in VinVL_MODEL_ZOO.md), '
    'SPICE 25.1'
  ),
  cost='stated: 8 V100 of 32 GB; not timed, not estimated: sampling of captions dominates',
)
VINVL_CAPTIONING_LARGE = VINVL_CAPTIONING_BASE.with_settings(
  'vinvl_captioning_large',
  {'learning_rate': 1e-5},
  paper=f'{_VINVL}, Image Captioning on COCO, large, step 1',
  expects='none printed before step 2',
  cost=f'stated: 8 V100 of 32 GB; {training_work("large", 120, 60 * _CAPTIONS)}',
)
VINVL_CAPTIONING_LARGE_SCST = VINVL_CAPTIONING_BASE_SCST.with_settings(
  'vinvl_captioning_large_scst',
  {'per_gpu_train_batch_size': 6, 'num_train_epochs': 25, 'learning_rate': 8e-7},
  paper=f'{_VINVL}, Image Captioning on COCO, large, step 2',
  expects='COCO Karpathy test: B@4 41.0, METEOR 31.1, CIDEr 140.9, SPICE 25.2 (README)',
  cost='stated: 8 V100 of 32 GB; not timed, not estimated: sampling of captions dominates',
)
CAPTIONING_TEST = Recipe(
  name='captioning_test',
  script='oscar.run_captioning',
  paper=f'{_ZOO} and VinVL_MODEL_ZOO.md, Image Captioning, test set',
  settings={
    'do_test': True,
    'do_eval': True,
    'test_yaml': 'test.yaml',
    'per_gpu_eval_batch_size': 64,
    'num_beams': 5,
    'max_gen_length': 20,
  },
  command=_test_command('oscar.run_captioning', 'captioning_test'),
  expects='CIDEr after step 2: 137.6 (base), 140.0 (large) (paper, Table 2e)',
  cost='evaluation: 5,000 images; not timed',
)

# NoCaps allows only COCO's captions, so training starts from BERT.
NOCAPS_BASE = CAPTIONING_BASE.with_settings(
  'nocaps_base',
  {'num_train_epochs': 40},
  paper=(
    'arXiv 2004.06165, appendix A: from BERT, batches of 256 (4 GPUs of 64), tags of an Open '
    'Images detector; otherwise as `captioning_base`'
  ),
  expects=(
    'NoCaps validation: CIDEr 63.8, SPICE 11.2; constrained beams 79.3, 11.9 (paper, Table 2f)'
  ),
  cost=training_work('base', 120, 40 * _CAPTIONS),
  command=command('oscar.run_captioning', 'nocaps_base', 'bert-base-uncased'),
)
NOCAPS_BASE_SCST = CAPTIONING_BASE_SCST.with_settings(
  'nocaps_base_scst',
  {'learning_rate': 1e-6},
  paper=(
    'arXiv 2004.06165, appendix A: batches of 64 (4 GPUs of 16), 5 epochs; otherwise as '
    '`captioning_base_scst`'
  ),
  expects='NoCaps validation, constrained beams: CIDEr 81.1, SPICE 11.7 (paper, Table 2f)',
  cost='not timed, not estimated: sampling of captions dominates',
)
VINVL_NOCAPS_BASE = CAPTIONING_BASE.with_settings(
  'vinvl_nocaps_base',
  {**_VINVL_CAPTIONING, 'learning_rate': 1e-4},
  paper=f'{_VINVL}, Image Captioning on NoCaps, step 1, from BERT',
  expects='none for this command: the README\'s CIDEr 92.46 is with VIVO (arXiv 2009.13682)',
  cost=f'stated: 4 V100 of 16 GB; {training_work("base", 120, 30 * _CAPTIONS)}',
  command=command('oscar.run_captioning', 'vinvl_nocaps_base', 'bert-base-uncased'),
)
VINVL_NOCAPS_BASE_SCST = VINVL_CAPTIONING_BASE_SCST.with_settings(
  'vinvl_nocaps_base_scst',
  {
    'scheduler': 'constant',
    'learning_rate': 5e-6,
    'per_gpu_train_batch_size': 14,
    'num_train_epochs': 50,
  },
  paper=f'{_VINVL}, Image Captioning on NoCaps, step 2',
  expects='none for this command: the README\'s CIDEr 92.46 is with VIVO (arXiv 2009.13682)',
  cost='stated: 8 V100 of 32 GB; not timed, not estimated: sampling of captions dominates',
)
NOCAPS_TEST = CAPTIONING_TEST.with_settings(
  'nocaps_test',
  {'test_yaml': 'val.yaml', 'per_gpu_eval_batch_size': 2, 'use_cbs': True},
  paper=f'{_VINVL}, Image Captioning on NoCaps, constrained beam search',
  expects=(
    'NoCaps validation: CIDEr 81.1 (base), 83.4 (large) after CIDEr optimisation (paper, Table 2f)'
  ),
  cost='evaluation: 4,500 images; not timed',
)

_CLASSIFICATION: dict[str, Any] = {  # Defaults of the scripts of VQA, GQA and NLVR2.
  **_OPTIMIZATION,
  'max_seq_length': 128,
  'max_img_seq_length': 30,
  'per_gpu_train_batch_size': 8,
  'per_gpu_eval_batch_size': 8,
  'num_train_epochs': 3.0,
  'learning_rate': 5e-5,
  'weight_decay': 0.0,
  'drop_out': 0.1,
  'loss_type': 'kl',
  'classifier': 'linear',
  'cls_hidden_scale': 2,
  'logging_steps': 50,
  'seed': 42,
}
VQA = Recipe(
  name='vqa',
  script='oscar.run_vqa',
  paper='microsoft/Oscar, defaults of run_vqa.py',
  settings={
    **_CLASSIFICATION, 'data_label_type': 'faster', 'img_feat_format': 'pt', 'scheduler': 'linear',
  },
  command=command('oscar.run_vqa', 'vqa'),
  expects='none; the published command is `vqa_base`',
  cost=training_work('base', 158, 3 * _QUESTIONS),
)
VQA_BASE = Recipe(
  name='vqa_base',
  script='oscar.run_vqa',
  paper=f'{_ZOO}, VQA; appendix A has batches of 128, which are 4 GPUs',
  settings={
    **_OPTIMIZATION,
    'do_train': True,
    'do_lower_case': True,
    'evaluate_during_training': True,
    'data_label_type': 'mask',
    'img_feature_type': 'faster_r-cnn',
    'img_feat_format': 'pt',
    'img_feature_dim': 2054,
    'max_seq_length': 128,
    'max_img_seq_length': 50,
    'per_gpu_train_batch_size': 32,
    'per_gpu_eval_batch_size': 256,
    'num_train_epochs': 25.0,
    'save_epoch': 1,
    'logging_steps': 4000,
    'learning_rate': 5e-5,
    'scheduler': 'linear',
    'weight_decay': 0.05,
    'drop_out': 0.3,
    'loss_type': 'bce',
    'classifier': 'linear',
    'cls_hidden_scale': 3,
    'seed': 88,
  },
  command=command('oscar.run_vqa', 'vqa_base'),
  expects=(
    'test-dev 73.16, test-std 73.44 (paper, Table 2b); the command trains without the val split'
  ),
  cost=f'number of GPUs not stated; {training_work("base", 178, 25 * _QUESTIONS)}',
)
VQA_LARGE = VQA_BASE.with_settings(
  'vqa_large',
  {
    'do_train': False,
    'do_train_val': True,
    'per_gpu_train_batch_size': 24,
    'learning_rate': 3e-5,
    'save_epoch': 30,
    'save_after_epoch': 15,
  },
  paper=f'{_ZOO}, VQA, on train and val; appendix A has batches of 96, which are 4 GPUs',
  expects='test-dev 73.61, test-std 73.82 (paper, Table 2b)',
  cost='number of GPUs not stated; not timed',
)
VINVL_VQA_BASE = VQA_BASE.with_settings(
  'vinvl_vqa_base',
  {},
  paper=f'{_VINVL}, VQA',
  expects='test-std 76.12 (VinVL_MODEL_ZOO.md); the command trains without the val split',
  cost=VQA_BASE.cost,
)
VINVL_VQA_LARGE = VQA_LARGE.with_settings(
  'vinvl_vqa_large',
  {},
  paper=f'{_VINVL}, VQA, on train and val',
  expects='test-std 76.62 (VinVL_MODEL_ZOO.md)',
  cost=VQA_LARGE.cost,
)
GQA = Recipe(
  name='gqa',
  script='oscar.run_gqa',
  paper='microsoft/Oscar, defaults of run_gqa.py',
  settings={
    **_CLASSIFICATION, 'data_label_type': 'bal', 'train_data_type': 'bal', 'eval_data_type': 'bal',
  },
  command=command('oscar.run_gqa', 'gqa'),
  expects='none; the published command is `gqa_base`',
  cost='not timed',
)
GQA_BASE = Recipe(
  name='gqa_base',
  script='oscar.run_gqa',
  paper=f'{_ZOO}, GQA; appendix A has batches of 128',
  settings={
    **_OPTIMIZATION,
    'do_train': True,
    'do_lower_case': True,
    'evaluate_during_training': True,
    'data_label_type': 'all',
    'train_data_type': 'all',
    'eval_data_type': 'bal',
    'img_feature_type': 'faster_r-cnn',
    'img_feature_dim': 2054,
    'max_seq_length': 165,
    'max_img_seq_length': 45,
    'per_gpu_train_batch_size': 48,
    'per_gpu_eval_batch_size': 256,
    'num_train_epochs': 5.0,
    'save_epoch': 2,
    'logging_steps': 4000,
    'learning_rate': 5e-5,
    'weight_decay': 0.05,
    'drop_out': 0.3,
    'loss_type': 'xe',
    'classifier': 'linear',
    'cls_hidden_scale': 2,
    'seed': 88,
  },
  command=command('oscar.run_gqa', 'gqa_base'),
  expects=(
    'test-dev 61.58, test-std 61.62 with two more epochs on the balanced split, for which there is '
    'no command (paper, Table 2d)'
  ),
  cost='number of GPUs not stated; not timed',
)
VINVL_GQA_BASE = GQA_BASE.with_settings(
  'vinvl_gqa_base',
  {},
  paper=f'{_VINVL}, GQA',
  expects='test-std 64.65 (VinVL_MODEL_ZOO.md)',
  cost=GQA_BASE.cost,
)
NLVR2 = Recipe(
  name='nlvr2',
  script='oscar.run_nlvr',
  paper='microsoft/Oscar, defaults of run_nlvr.py',
  settings={
    **_CLASSIFICATION,
    'data_label_type': 'bal',
    'train_data_type': 'bal',
    'eval_data_type': 'bal',
    'num_choice': 2,
  },
  command=command('oscar.run_nlvr', 'nlvr2'),
  expects='none; the published command is `nlvr2_base`',
  cost='not timed',
)
NLVR2_BASE = Recipe(
  name='nlvr2_base',
  script='oscar.run_nlvr',
  paper=f'{_ZOO}, NLVR2; appendix A has learning rates of 2e-5, 3e-5 or 5e-5 and batches of 72',
  settings={
    **_OPTIMIZATION,
    'do_train': True,
    'do_lower_case': True,
    'evaluate_during_training': True,
    'data_label_type': 'all',
    'train_data_type': 'all',
    'eval_data_type': 'all',
    'use_pair': True,
    'num_choice': 2,
    'img_feature_type': 'faster_r-cnn',
    'img_feature_dim': 2054,
    'max_seq_length': 55,
    'max_img_seq_length': 40,
    'per_gpu_train_batch_size': 72,
    'per_gpu_eval_batch_size': 64,
    'num_train_epochs': 20.0,
    'save_epoch': -1,
    'logging_steps': -1,
    'learning_rate': 3e-5,
    'warmup_steps': 10_000,
    'weight_decay': 0.05,
    'drop_out': 0.3,
    'loss_type': 'xe',
    'classifier': 'mlp',
    'cls_hidden_scale': 3,
    'seed': 88,
  },
  command=command('oscar.run_nlvr', 'nlvr2_base'),
  expects='dev 78.07, test-P 78.36 (paper, Table 2c; 78.44 in MODEL_ZOO.md)',
  cost=f'number of GPUs not stated; {training_work("base", 95, 2 * 20 * _STATEMENTS)}',
)
NLVR2_LARGE = NLVR2_BASE.with_settings(
  'nlvr2_large',
  {'per_gpu_train_batch_size': 24, 'warmup_steps': 5000, 'cls_hidden_scale': 2},
  paper=f'{_ZOO}, NLVR2; appendix A has learning rates of 2e-5 or 3e-5 and batches of 48',
  expects='dev 79.12, test-P 80.37 (paper, Table 2c; 80.05 in README)',
  cost=f'number of GPUs not stated; {training_work("large", 95, 2 * 20 * _STATEMENTS)}',
)
VINVL_NLVR2_BASE = NLVR2_BASE.with_settings(
  'vinvl_nlvr2_base',
  {},
  paper=f'{_VINVL}, NLVR2',
  expects='test-P 83.08 (VinVL_MODEL_ZOO.md)',
  cost=NLVR2_BASE.cost,
)
VINVL_NLVR2_LARGE = NLVR2_LARGE.with_settings(
  'vinvl_nlvr2_large',
  {},
  paper=f'{_VINVL}, NLVR2',
  expects='test-P 83.98 (VinVL_MODEL_ZOO.md)',
  cost=NLVR2_LARGE.cost,
)

# All of the above, in order.
RECIPES = by_name(value for value in list(globals().values()) if isinstance(value, Recipe))
