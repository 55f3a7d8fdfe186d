"""Times a model against its peer in keras.applications: training step and inference.

    python -m efficientnet.benchmark                                  # B0, 224 pixels, batch 8
    python -m efficientnet.benchmark --model_name=efficientnet-b2 --batch_size=4

The contestants take turns within one process, each round in the other direction, and what counts is
the ratio of the medians: times differ from day to day and machine to machine, ratios hardly. Nothing
else may run meanwhile. One device, tf.function without XLA, random images, SGD with momentum.
"""
import dataclasses
import statistics
import time

from absl import flags

from tpu_utils import cli, settings, suggest
from tpu_utils.settings import setting

PEERS = {f'efficientnet-b{i}': f'EfficientNetB{i}' for i in range(8)}


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig(settings.Checked):
  """What is timed."""

  model_name: str = setting('efficientnet-b0', 'Model to time.', choices=tuple(PEERS))
  image_size: int = setting(None, "Pixels a side; the model's own if not given.", type=int, at_least=1)
  batch_size: int = setting(8, 'Images a step.', at_least=1)
  rounds: int = setting(10, 'Times each contestant runs.', at_least=1)


def benchmark(config):
  """Returns {'training step' or 'inference': {'ours' or 'keras.applications': median seconds}}."""
  import keras
  import tensorflow as tf

  from efficientnet import model_builder_factory

  suggest.check('model_name', config.model_name, PEERS)
  size = config.image_size or model_builder_factory.get_model_input_size(config.model_name)
  peer_class = getattr(keras.applications, PEERS[config.model_name])
  models = {
    'ours': model_builder_factory.build_model(config.model_name, image_size=size),
    'keras.applications': peer_class(
      weights=None, input_shape=(size, size, 3), classifier_activation=None
    ),
  }
  images = tf.random.uniform((config.batch_size, size, size, 3), 0, 255)
  labels = tf.one_hot(tf.range(config.batch_size) % 1000, 1000)
  results = {}
  for kind, make in (('training step', _train_function), ('inference', _inference_function)):
    functions = {name: make(model) for name, model in models.items()}
    results[kind] = _take_turns(functions, (images, labels), config.rounds)
  return results


def _train_function(model):
  import keras
  import tensorflow as tf

  optimizer = keras.optimizers.SGD(1e-3, momentum=0.9)
  optimizer.build(model.trainable_variables)

  @tf.function
  def step(images, labels):
    with tf.GradientTape() as tape:
      logits = model(images, training=True)
      loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels, logits))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return loss

  return step


def _inference_function(model):
  import tensorflow as tf

  return tf.function(lambda images, labels: model(images, training=False))


def _take_turns(functions, arguments, rounds):
  """{name: median seconds} of the functions, run in turn after one run that traces them."""
  times = {name: [] for name in functions}
  for i in range(rounds + 1):
    names = list(functions) if i % 2 else list(reversed(functions))
    for name in names:
      start = time.perf_counter()
      functions[name](*arguments).numpy()
      if i:
        times[name].append(time.perf_counter() - start)
  return {name: statistics.median(seconds) for name, seconds in times.items()}


def main(argv):
  del argv
  config = settings.from_flags(BenchmarkConfig, flags.FLAGS)
  print(f'{config.model_name}, batch {config.batch_size}, median of {config.rounds} rounds')
  for kind, seconds in benchmark(config).items():
    for name, median in seconds.items():
      rate = config.batch_size / median
      print(f'{kind:15} {name:20} {1000 * median:9.1f} ms {rate:9.1f} images/s')
    ratio = seconds['keras.applications'] / seconds['ours']
    print(f'{kind:15} keras.applications takes {ratio:.2f} times as long as ours')


if __name__ == '__main__':
  settings.define_flags(BenchmarkConfig)
  cli.run(main, settings.parse_flags(__doc__, [BenchmarkConfig]))
