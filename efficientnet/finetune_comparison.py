r"""Compares the recipe `finetune` with keras.io's guide and timm's defaults on folders of pictures.

  python -m efficientnet.finetune_comparison --data_dirs=PICTURES
      Fine-tunes the ImageNet weights of Lite0 by each recipe, with three seeds, and prints top-1
      accuracy on the held-out pictures, processor time and elapsed time.

  python -m tests.efficientnet.five_sets sets
  python -m efficientnet.finetune_comparison --output_dir=runs/five \
      --data_dirs=sets/photographs,sets/fashion,sets/shapes,sets/stamps,sets/digits
      The table in this folder's README: 45 trainings, half an hour of processor time.

All recipes get the same weights, pictures and number of pixels, and each runs in a process of its
own. keras.io's guide (Image classification via fine-tuning with EfficientNet) trains a new
classifier for 25 epochs, then the last 20 layers for 4. `finetune` and timm (train.py, its defaults
apart from epochs and batch) train all layers for --train_epochs; 8 take about as long as the
guide. timm needs torch, which --torch_python may have. The same command resumes, and trains nothing
again.
"""
import dataclasses
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

from efficientnet.recipes import RECIPES
from tpu_utils import files
from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.image_jobs import fitting
from tpu_utils.names import listed_names, listed_seeds

# {recipe: flags of efficientnet.main} of the contestants that are jobs of this project.
OURS: Mapping[str, tuple[str, ...]] = {'finetune': (), 'finetune_live': ('--freeze=none',)}
# {recipe: program} of the others.
PEERS = {'keras': 'efficientnet.finetune_keras', 'timm': 'efficientnet.finetune_timm'}
_RESULTS, _TABLE, _WEIGHTS = 'results.jsonl', 'table.md', 'weights.safetensors'


@dataclasses.dataclass(frozen=True)
class ComparisonConfig(settings.Checked):
  """Pictures, recipes and seeds to compare."""

  data_dirs: str = setting(
    '', 'Folders of classes, separated by commas; undivided ones are divided as in training.'
  )
  model_name: str = setting('efficientnet-lite0', 'A model with weights in [pretrained].')
  recipes: str = setting(
    'finetune,keras,timm',
    'Recipes, separated by commas: finetune, finetune_live (with --freeze=none), keras, timm.',
  )
  seeds: str = setting('0,1,2', 'Seeds, separated by commas.')
  input_image_size: int = setting(64, 'Pixels a side.', at_least=1)
  train_epochs: float = setting(8.0, 'Epochs of finetune and timm.', at_least=0)
  torch_python: str = setting(
    None, 'Python program of an environment with timm; by default this one.', type=str
  )
  output_dir: str = setting('runs/finetune-comparison', 'Folder of the results.')

  def recipe_list(self) -> list[str]:
    """Returns the names in `recipes`.

    Raises:
      ValueError: one is unknown.
    """
    return listed_names('recipe of --recipes', self.recipes, (*OURS, *PEERS))

  def seed_list(self) -> list[int]:
    """Returns the numbers in `seeds`.

    Raises:
      ValueError: one is not a whole number from 0.
    """
    return listed_seeds(self.seeds)


def pictures_of(data_dir: str) -> dict[str, list[tuple[str, int]]]:
  """Returns {'train', 'validation': (path, class) of each picture}, divided as by the job.

  Raises:
    ValueError: it is not a folder of classes.
  """
  from tpu_utils.images.sources import image_folder, splitting

  roots = image_folder.split_folders(data_dir)
  class_names = image_folder.class_folders(roots['train'])
  images = image_folder.list_images(roots['train'], class_names)
  if 'validation' in roots:
    held = image_folder.list_images(roots['validation'], class_names)
    return {'train': images, 'validation': held}
  names = splitting.divide(images).validation
  found: dict[str, list[tuple[str, int]]] = {'train': [], 'validation': []}
  for path, label in images:
    part = 'validation' if splitting.name_of(path) in names else 'train'
    found[part].append((path, label))
  return found


def train(
  config: ComparisonConfig,
  data_dir: str,
  recipe: str,
  seed: int,
  flags: Sequence[str] = (),
) -> dict[str, float]:
  """Trains a model in a process of its own.

  Args:
    config: the settings.
    data_dir: folder of the pictures.
    recipe: name of the recipe.
    seed: seed of the training.
    flags: further flags of efficientnet.main, for the recipes of `OURS`.

  Returns:
    {'top_1': accuracy from 0 to 1 after the last step, 'processor_seconds', 'seconds'}, of the
    whole process.

  Raises:
    ValueError: the training failed.
  """
  pictures = pictures_of(data_dir)
  counts = len(pictures['train']), len(pictures['validation'])
  sizes = fitting.sizes(*counts, {'train_epochs': config.train_epochs})
  with tempfile.TemporaryDirectory(dir=config.output_dir) as folder:
    result = os.path.join(folder, 'run', 'eval', 'results.jsonl')
    if recipe in OURS:
      command = [
        sys.executable, '-m', 'efficientnet.main', f'--model_name={config.model_name}',
        '--init_checkpoint=pretrained', '--recipe=finetune', f'--data_dir={data_dir}',
        f'--model_dir={folder}/run', f'--input_image_size={config.input_image_size}',
        f'--train_epochs={config.train_epochs}', f'--steps_per_eval={sizes["train_steps"]}',
        f'--seed={seed}', '--noreport', *OURS[recipe], *flags,
      ]  # fmt: skip
    else:
      job = {
        'pictures': pictures, 'model_name': config.model_name, 'seed': seed, 'output': result,
        'image_size': config.input_image_size, 'epochs': config.train_epochs,
        'batch': sizes['train_batch_size'], 'weights': os.path.join(config.output_dir, _WEIGHTS),
      }  # fmt: skip
      files.write_json(f'{folder}/job.json', job)
      os.makedirs(os.path.dirname(result))
      python = config.torch_python if recipe == 'timm' and config.torch_python else sys.executable
      command = [python, '-m', PEERS[recipe], f'{folder}/job.json']
    seconds = _run(command, recipe)
    *_, last = files.read_json_lines(result)
  return {'top_1': last['top_1_accuracy'], **seconds}


def _run(command, recipe):
  """Runs a program; returns its times."""
  before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
  finished = subprocess.run(command, capture_output=True, text=True)
  after, end = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
  if finished.returncode:
    last = finished.stderr.strip().splitlines()[-1:] or ['no message']
    raise ValueError(f'The training by {recipe} failed: {last[0]}')
  processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
  return {'processor_seconds': round(processor, 1), 'seconds': round(end - start, 1)}


def table(lines: Sequence[Mapping]) -> str:
  """Returns a Markdown table of results: a row for each set, recipes as columns.

  Args:
    lines: lines of the results: 'set', 'recipe', 'seed' and those of `train`.
  """
  recipes = list(dict.fromkeys(line['recipe'] for line in lines))
  names = list(dict.fromkeys(line['set'] for line in lines))
  head = ['set', *recipes]
  rows = [[name, *(_cell(lines, name, recipe) for recipe in recipes)] for name in names]
  return '\n'.join(
    f'| {" | ".join(row)} |' for row in (head, ['---'] * len(head), *rows)
  )


def _cell(lines, name, recipe):
  own = [line for line in lines if (line['set'], line['recipe']) == (name, recipe)]
  if not own:
    return '-'
  values = [100 * line['top_1'] for line in own]
  minutes = statistics.mean(line['processor_seconds'] for line in own) / 60
  elapsed = statistics.mean(line['seconds'] for line in own) / 60
  text = f'{statistics.mean(values):.1f}'
  if len(values) > 1:
    text += f' ({min(values):.1f} to {max(values):.1f})'
  return f'{text}; {minutes:.1f} / {elapsed:.1f} min'


def run(resolved: settings.Resolved) -> None:
  """Trains what is missing, and prints the comparison.

  Raises:
    ValueError: a folder without classes, an unknown recipe, or a remote output folder.
    OSError: a file cannot be read or written.
  """
  (config,) = resolved
  folders = [folder.rstrip('/') for folder in config.data_dirs.split(',') if folder]
  if not folders:
    raise ValueError('--data_dirs is missing: give folders of classes, separated by commas.')
  recipes, seeds = config.recipe_list(), config.seed_list()
  for folder in folders:
    pictures_of(folder)
  files.check_local('output_dir', config.output_dir, 'compare in a local folder and copy it')
  os.makedirs(config.output_dir, exist_ok=True)
  if 'timm' in recipes:
    _write_weights(config)
  path = os.path.join(config.output_dir, _RESULTS)
  for seed in seeds:
    for folder in folders:
      for recipe in recipes:
        key = {'set': os.path.basename(folder), 'recipe': recipe, 'seed': seed}
        if any(line.items() >= key.items() for line in _lines(path)):
          continue
        line = {**key, **train(config, folder, recipe, seed)}
        files.append_json_line(path, line)
        print(
          f'{key["set"]:12} {recipe:12} seed {seed}  {line["top_1"]:7.2%}  '
          f'{line["processor_seconds"]:.0f} s of a processor, {line["seconds"]:.0f} s', flush=True
        )  # fmt: skip
  text = table(_lines(path))
  files.write_text(os.path.join(config.output_dir, _TABLE), text + '\n')
  print(text)


def _lines(path):
  return files.read_json_lines(path) if files.exists(path) else []


def _write_weights(config):
  path = os.path.join(config.output_dir, _WEIGHTS)
  if files.exists(path):
    return
  import efficientnet
  from tpu_utils import weights

  weights.save_torch(efficientnet.build_model(config.model_name, weights='pretrained'), path)


SCRIPT = Script(
  __doc__, (ComparisonConfig,), run, module='efficientnet.finetune_comparison', recipes=RECIPES
)


if __name__ == '__main__':
  SCRIPT.main()
