"""Scripts of a paper with one tiny network, for tests that follow a job through all of them."""
import keras

from tpu_utils import batch_norm
from tpu_utils.command_line.recipes import Recipe
from tpu_utils.image_jobs import evaluate, export, predict, script
from tpu_utils.images.spec import PreprocessSpec
from tpu_utils.weights.name_map import NameMap, register

NAME_MAP = NameMap(sources={}, classifier='fc/')
register('small-', __name__)


def build_model(model_name, num_classes=1000, image_size=8, dtype_policy=None, weights=None):
  """Builds a convolution with batch norm, and a classifier in float32 as in the real networks."""
  del weights
  images = keras.Input((image_size, image_size, 3), name='images')
  x = keras.layers.Rescaling(1 / 64, -2, name='normalization', dtype='float32')(images)
  x = keras.layers.Conv2D(8, 3, name='conv', dtype=dtype_policy)(x)
  x = batch_norm.BatchNormalization(name='bn', dtype=dtype_policy)(x)
  x = keras.layers.GlobalAveragePooling2D(name='pool', dtype=dtype_policy)(x)
  x = keras.layers.Dense(num_classes, name='fc', dtype='float32')(x)
  return keras.Model(images, x, name=model_name)


def resolve_model(model):
  return script.ModelSpec(build_model, PreprocessSpec(8, crop='whole'), identity=(), run_info={})


def recipe(name, **settings):
  return Recipe(
    name=name, script='small.main', paper='none', settings=settings, cost='seconds',
    command=f'python -m small.main --recipe={name}', expects='nothing',
  )  # fmt: skip


_SETTINGS = {
  'model_name': 'small-net', 'train_batch_size': 4, 'eval_batch_size': 4, 'train_steps': 2,
  'steps_per_eval': 2, 'iterations_per_loop': 2, 'lr_schedule': 'constant', 'weight_decay': 0.0,
  'lr_warmup_epochs': 0.0, 'transpose_input': False,
}  # fmt: skip
RECIPES = {
  'imagenet': recipe('imagenet', **_SETTINGS),
  'digits': recipe('digits', **_SETTINGS, num_label_classes=10, model_dir='small-digits'),
}
TRAINING = script.Training((script.ModelConfig,), resolve_model, package='resnext')
MAIN = TRAINING.script('Trains.', 'small.main', RECIPES)
EXPORT = export.Export(TRAINING).script('Exports.', 'small.export', {})
EVALUATE = evaluate.Evaluation(TRAINING).script('Evaluates.', 'small.evaluate', {})
PREDICT = predict.Predicting(TRAINING).script('Predicts.', 'small.predict', {})
