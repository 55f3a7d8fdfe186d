"""Tests that only listed modules open paths without `tpu_utils.files`, which knows remote ones.

A user may give a remote path (gs://...) wherever a path is expected. A call of Python's own `open`
would report that there is no such file.
"""
import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ('efficientnet', 'oscar', 'resnext', 'tpu_utils')
MODULES = sorted(
  path.relative_to(ROOT).as_posix()
  for package in PACKAGES
  for path in (ROOT / package).rglob('*.py')
)

_COPIES = 'gets a local copy from weights.load'
_OFFICIAL = 'official OSCAR files, which must be local (records.check_local)'
_SCENES = 'builds the scenes, which must be local (oscar/scenes/__main__.py)'
_NAMES = 'lists and opens local files whose names are no text, and remote ones'
_OWN_FILE = 'reads a file of its own package'
_GOLDENS = "reads the tests' reference numbers, of a clone"
_PARENT = 'writes and reads the temporary files of its parent process'
_BENCHMARK = 'writes and reads its own temporary files'
# Modules that use local paths alone, with the reason.
LOCAL_ONLY = {
  'efficientnet/benchmark_jax.py': _GOLDENS,
  'efficientnet/finetune_comparison.py': 'its folders are local, which its check says',
  'efficientnet/finetune_timm.py': _PARENT,
  'efficientnet/pretrained.py': 'finds the files of an installed package',
  'efficientnet/published.py': _OWN_FILE,
  'oscar/benchmark_jax.py': _GOLDENS,
  'oscar/benchmark_input.py': _BENCHMARK,
  'oscar/benchmarking/corpus_size.py': _BENCHMARK,
  'oscar/benchmark_torch.py': 'imports the official code from a clone',
  'oscar/datasets/builders.py': _OFFICIAL,
  'oscar/datasets/official_layout.py': _OFFICIAL,
  'oscar/datasets/coco_retrieval.py': _OFFICIAL,
  'oscar/datasets/pretrain_corpus.py': _OFFICIAL,
  'oscar/datasets/region_conversion.py': _OFFICIAL,
  'oscar/datasets/region_extraction.py': _OFFICIAL,
  'oscar/datasets/tsv.py': _OFFICIAL,
  'oscar/demo.py': 'trains on the scenes, which must be local',
  'oscar/easy_vqa.py': 'links files of its folder, which must be local',
  'oscar/input/pairs.py': 'asks for the size of a local copy',
  'oscar/metrics/captions.py': 'finds the files of an installed package',
  'oscar/predict.py': 'compares paths that check_local admitted',
  'oscar/predicting/lines.py': 'its output is local, which oscar/predict.py checks',
  'oscar/published.py': _OWN_FILE,
  'oscar/scenes/__main__.py': _SCENES,
  'oscar/scenes/gallery.py': _SCENES,
  'oscar/scenes/layouts.py': _SCENES,
  'oscar/scenes/stamps.py': 'reads installed photographs, which must be local',
  'oscar/scenes/world.py': _SCENES,
  'oscar/scenes_experiment.py': 'trains on the scenes, which must be local',
  'resnext/benchmark_jax.py': _GOLDENS,
  'resnext/published.py': _OWN_FILE,
  'tpu_utils/benchmarking/device_benchmark.py': _BENCHMARK,
  'tpu_utils/benchmarking/jax_timing.py': 'runs without TensorFlow, which remote paths need',
  'tpu_utils/benchmarking/machine.py': 'reads /proc',
  'tpu_utils/benchmarking/peer_process.py': 'reads /proc, and the logs of its processes',
  'tpu_utils/claims.py': 'reads /proc',
  'tpu_utils/command_line/script.py': 'opens /dev/null',
  'tpu_utils/export/keras_metadata.py': 'copies between archives in memory',
  'tpu_utils/file_systems.py': 'the file system of local paths',
  'tpu_utils/figures.py': 'draws into memory',
  'tpu_utils/files.py': 'opens local paths after it has looked for remote ones',
  'tpu_utils/image_jobs/image_paths.py': _NAMES,
  'tpu_utils/image_jobs/prediction_files.py': 'appends to a file that is only beside local outputs',
  'tpu_utils/image_jobs/memory.py': 'reads /proc',
  'tpu_utils/image_jobs/predictions.py': _NAMES,
  'tpu_utils/image_jobs/reporting/drawing.py': 'draws into memory',
  'tpu_utils/images/benchmarking/data.py': _BENCHMARK,
  'tpu_utils/images/digits.py': 'writes the digits of this package',
  'tpu_utils/images/preparation/collect.py': _NAMES,
  'tpu_utils/images/record_index.py': 'opens local files faster than TensorFlow, and remote ones',
  'tpu_utils/images/sources/picture_files.py': _NAMES,
  'tpu_utils/launching/agent.py': 'runs on TPU hosts, on its own files',
  'tpu_utils/launching/gcloud.py': 'looks for a program on PATH',
  'tpu_utils/launching/launcher.py': 'its folders are local, which tpu_utils/launch.py checks',
  'tpu_utils/launching/package.py': 'packs the clone that it runs from',
  'tpu_utils/launching/state.py': 'locks local files, which tpu_utils/launch.py checks',
  'tpu_utils/launching/workers.py': 'copies a file of its own package',
  'tpu_utils/local_copies.py': 'writes the local copies',
  'tpu_utils/preflight/compiler.py': 'writes and reads the temporary files of its caller',
  'tpu_utils/preflight/compiling.py': 'writes and reads its own temporary files',
  'tpu_utils/weights/inert.py': 'has paths as values in files, and opens none',
  'tpu_utils/weights/keras_files.py': _COPIES,
  'tpu_utils/weights/safe_pickle.py': _COPIES,
  'tpu_utils/weights/t7.py': _COPIES,
  'tpu_utils/weights/torch_files.py': _COPIES,
  'tpu_utils/weights/torch_tensors.py': _COPIES,
}

_OS = {
  'link', 'listdir', 'makedirs', 'mkdir', 'open', 'remove', 'removedirs', 'rename', 'replace',
  'rmdir', 'scandir', 'stat', 'symlink', 'unlink', 'walk',
}  # fmt: skip
_OS_PATH = {'exists', 'getmtime', 'getsize', 'isdir', 'isfile', 'islink', 'lexists', 'realpath'}
_IMPORTS = {'glob', 'pathlib', 'shutil'}


def _local_uses(tree):
  """Yields (line, text) of the uses of Python's own functions for paths."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import | ast.ImportFrom):
      is_from = isinstance(node, ast.ImportFrom)
      names = [node.module] if is_from else [alias.name for alias in node.names]
      yield from ((node.lineno, f'import {name}') for name in names if name in _IMPORTS)
    elif isinstance(node, ast.Attribute):
      text = ast.unparse(node)
      if text in {f'os.{name}' for name in _OS} | {f'os.path.{name}' for name in _OS_PATH}:
        yield node.lineno, text
      if node.attr == 'savefig':
        yield node.lineno, text
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'open':
      yield node.lineno, 'open(...)'


def _uses_of(module):
  return list(_local_uses(ast.parse((ROOT / module).read_text(encoding='utf-8'))))


@pytest.mark.parametrize('module', [module for module in MODULES if module not in LOCAL_ONLY])
def test_paths_go_through_files(module):
  found = [f'{module}:{line}: {text}' for line, text in _uses_of(module)]
  assert not found, (
    f'{found[0]}: use tpu_utils.files or local_copies, so that the path may be remote, or check '
    'with files.check_local and add the module to LOCAL_ONLY with the reason.'
  )


@pytest.mark.parametrize('module', LOCAL_ONLY)
def test_listed_modules_exist_and_use_local_paths(module):
  assert module in MODULES and _uses_of(module)


@pytest.mark.parametrize('code, count', [
  ('open(path)', 1), ('files.open_text(path)', 0), ('dataset.open("train")', 0), ('os.walk(p)', 1),
  ('os.path.join(a, b)', 0), ('os.path.exists(p)', 1), ('import pathlib', 1),
  ('from shutil import copy', 1), ('figure.savefig(path)', 1), ('tf.io.gfile.exists(p)', 0),
  ('os.replace', 1), ('os.environ', 0),
])  # fmt: skip
def test_local_uses_are_found(code, count):
  assert len(list(_local_uses(ast.parse(code)))) == count
