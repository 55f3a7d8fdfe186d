"""Keras models on JAX: forward pass and training step as compiled programs, and their values.

The training step is a function of the model's variables (`stateless_call`), differentiated by JAX,
with an optimizer of optax, compiled whole; the state's buffers are donated. 16-bit arithmetic is
that of the model's own precision policy. Needs jax and optax, and KERAS_BACKEND=jax before Keras is
imported; no TensorFlow.
"""
import dataclasses
import importlib.util
import math
import os
import pathlib
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tpu_utils.benchmarking import peer_process

KINDS = ('forward', 'training step')
POLICIES = {'float32': 'float32', 'bfloat16': 'mixed_bfloat16'}
# Of float32 products. The first is what is timed, JAX's default: products of TF32 on GPUs that have
# them, as torch's peers are set as well; plain float32 on CPUs.
TIMED_PRECISION, FULL_PRECISION = 'default', 'highest'


def use_jax() -> None:
  """Makes Keras run on JAX, which shares the device's memory with other processes.

  Raises:
    ValueError: jax or optax is missing.
  """
  missing = [name for name in ('jax', 'optax') if importlib.util.find_spec(name) is None]
  if missing:
    raise ValueError(f'--backend=jax needs {" and ".join(missing)}: pip install jax optax.')
  os.environ['KERAS_BACKEND'] = 'jax'
  os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')


@dataclasses.dataclass(frozen=True)
class Program:
  """A compiled program.

  Attributes:
    run: function(steps) that runs it and waits for the end of the last step.
    facts: `multiply_adds` of a step; `bytes_accessed`, the compiler's estimate of its memory
      traffic, and `memory`, bytes of arguments, results and scratch space, without those that share
      a buffer (None where the compiler does not say).
  """

  run: Callable[[int], None]
  facts: dict[str, float | None]


def forward(model: Any, inputs: Any, outputs: Callable[[Any], Any] = lambda x: x) -> Program:
  """Compiles the inference of a Keras model.

  Args:
    model: a `keras.Model`.
    inputs: numpy arrays in the structure of the model's inputs.
    outputs: function of the model's outputs -> those to compute; others cost nothing.
  """
  import jax

  def call(variables, inputs):
    return outputs(model.stateless_call(*variables, inputs, training=False)[0])

  arguments = jax.device_put((_values(model), inputs))
  compiled = _compiled(call, arguments)

  def run(steps):
    results = [compiled(*arguments) for _ in range(steps)]
    jax.block_until_ready(results[-1])

  return Program(run, _facts(compiled, multiply_adds(call, *arguments)))


def training_step(
  model: Any, optimizer: Any, loss: Callable[[Any, Any], Any], inputs: Any, targets: Any
) -> Program:
  """Compiles a training step of a Keras model.

  Its multiply-adds are three times those of the forward pass, as is usual.

  Args:
    model: a `keras.Model`; its own variables do not change.
    optimizer: an `optax.GradientTransformation`.
    loss: function(outputs, targets) -> scalar.
    inputs: numpy arrays in the structure of the model's inputs.
    targets: numpy arrays for `loss`.
  """
  import jax
  import optax

  def compute(trainable, others, inputs, targets):
    outputs, others = model.stateless_call(trainable, others, inputs, training=True)
    return loss(outputs, targets), others

  def step(state, inputs, targets):
    trainable, others, slots = state
    gradient = jax.value_and_grad(compute, has_aux=True)
    (value, others), gradients = gradient(trainable, others, inputs, targets)
    updates, slots = optimizer.update(gradients, slots, trainable)
    return (optax.apply_updates(trainable, updates), others, slots), value

  trainable, others = jax.tree.map(jax.numpy.copy, _values(model))
  batch = jax.device_put((inputs, targets))
  state = [(trainable, others, optimizer.init(trainable))]
  cost = multiply_adds(compute, trainable, others, *batch)
  compiled = _compiled(step, (state[0], *batch), donate_argnums=0)

  def run(steps):
    for _ in range(steps):
      state[0], value = compiled(state[0], *batch)
    jax.block_until_ready(state[0])
    if not math.isfinite(float(value)):
      raise FloatingPointError(f'The loss became {float(value)}.')

  return Program(run, _facts(compiled, 3 * cost))


def serve(
  task: Mapping[str, Any],
  references: Callable[[str], Sequence['Reference']],
  programs: Callable[[Mapping[str, Any]], Mapping[str, Program]],
) -> None:
  """Serves a paper's programs on JAX, or reports how far values are from its references.

  Args:
    task: the argument of the process; see `device_benchmark`.
    references: function(folder of the reference numbers) -> the references to check.
    programs: function(task) -> {kind: program}.

  Raises:
    ValueError: jax or optax is missing, or there are no reference numbers.
  """
  use_jax()
  if task['work'] == 'check':
    peer_process.serve_steps({}, {'values': compare(references(task['goldens']))})
  else:
    peer_process.serve_steps(works(programs(task)), device_facts())


def works(programs: Mapping[str, Program]) -> dict[str, Callable[[int], dict]]:
  """Returns {kind: function(steps)} for `peer_process.serve_steps`."""

  def work(program):
    def run(steps):
      program.run(steps)
      return program.facts

    return run

  return {kind: work(program) for kind, program in programs.items()}


def task_programs(
  task: Mapping[str, Any], build_model: Callable, optimizer: Any
) -> dict[str, Program]:
  """Returns {kind: `Program`} of the image classifier that a task names.

  Args:
    task: the argument of the process; see `device_benchmark`.
    build_model: function(name, image_size=, dtype_policy=) -> `keras.Model`.
    optimizer: an `optax.GradientTransformation`.
  """
  size = task['image_size']
  model = build_model(task['model'], image_size=size, dtype_policy=POLICIES[task['dtype']])
  return images_programs(model, optimizer, task['batch_size'], size)


def images_programs(
  model: Any, optimizer: Any, batch_size: int, image_size: int, classes: int = 1000
) -> dict[str, Program]:
  """Returns {kind: `Program`} of an image classifier, for random images and labels."""
  import optax

  rng = np.random.default_rng(0)
  images = rng.uniform(0, 255, (batch_size, image_size, image_size, 3)).astype(np.float32)
  labels = (np.arange(batch_size) % classes).astype(np.int32)

  def loss(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

  return {
    'forward': forward(model, images),
    'training step': training_step(model, optimizer, loss, images, labels),
  }


def device_facts() -> dict[str, Any]:
  """Describes the device that JAX computes on."""
  import jax

  device = jax.devices()[0]
  return {
    'device_kind': device.device_kind,
    'platform': device.platform,
    'jax': jax.__version__,
    'memory_limit': (device.memory_stats() or {}).get('bytes_limit'),
  }


def multiply_adds(function: Callable, *arguments: Any) -> int:
  """Counts the multiply-adds of a function's convolutions and matrix products, before compilation.

  Args:
    function: a function that JAX can trace.
    *arguments: arrays or their shapes.
  """
  import jax

  return _multiply_adds(jax.make_jaxpr(function)(*arguments).jaxpr)


def _multiply_adds(jaxpr):
  total = 0
  for equation in jaxpr.eqns:
    name = equation.primitive.name
    if name == 'dot_general':
      (contracted, _), _ = equation.params['dimension_numbers']
      left = equation.invars[0].aval.shape
      depth = math.prod(left[axis] for axis in contracted)
      total += math.prod(equation.outvars[0].aval.shape) * depth
    elif name == 'conv_general_dilated':
      kernel = equation.invars[1].aval.shape
      outputs = kernel[equation.params['dimension_numbers'].rhs_spec[0]]
      total += math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // outputs
    for value in equation.params.values():
      for inner in value if isinstance(value, (tuple, list)) else (value,):
        inner = getattr(inner, 'jaxpr', inner)
        if hasattr(inner, 'eqns'):
          total += _multiply_adds(inner)
  return total


def _values(model):
  trainable = [variable.value for variable in model.trainable_variables]
  return trainable, [variable.value for variable in model.non_trainable_variables]


def _compiled(function, arguments, precision=TIMED_PRECISION, **options):
  import jax

  with jax.default_matmul_precision(precision):
    return jax.jit(function, **options).lower(*arguments).compile()


def _facts(compiled, multiply_adds):
  size, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
  memory = None
  if size is not None:
    memory = size.argument_size_in_bytes + size.output_size_in_bytes + size.temp_size_in_bytes
    memory -= size.alias_size_in_bytes
  return {
    'multiply_adds': multiply_adds,
    'bytes_accessed': cost.get('bytes accessed'),
    'memory': memory,
  }


# ---- Values


@dataclasses.dataclass(frozen=True)
class Reference:
  """Numbers that another program computed, and the model that has to give them.

  Attributes:
    name: what it is.
    build: function(precision policy) -> a `keras.Model` with the reference's weights.
    inputs: numpy arrays in the structure of the model's inputs.
    compute: function(call, trainable, inputs) -> an array like `want`, where `call(trainable,
      inputs)` is the model's inference with these values of its trainable variables.
    want: the reference's numbers.
    tolerances: {setting of `compare`: largest difference in standard deviations of `want`}.
  """

  name: str
  build: Callable[[str], Any]
  inputs: Any
  compute: Callable[[Callable, list, Any], Any]
  want: np.ndarray
  tolerances: Mapping[str, float]


def logits(call: Callable, trainable: list, inputs: Any) -> Any:
  """Computes a classifier's output, for `Reference.compute`."""
  return call(trainable, inputs)


def compare(references: Sequence[Reference]) -> list[dict[str, Any]]:
  """Computes the references' numbers on the device.

  The settings are 'float32, full precision', 'float32, as timed' and 'bfloat16'.

  Returns:
    For each reference and setting a dict of `name`, `setting`, `error` (the largest difference, in
    standard deviations of the reference's numbers), `tolerance` and `agrees`.
  """
  import jax

  settings = {
    'float32, full precision': ('float32', FULL_PRECISION),
    'float32, as timed': ('float32', TIMED_PRECISION),
    'bfloat16': (POLICIES['bfloat16'], TIMED_PRECISION),
  }
  rows = []
  for reference in references:
    for setting, tolerance in reference.tolerances.items():
      policy, precision = settings[setting]
      model = reference.build(policy)

      def numbers(variables, inputs, model=model, reference=reference):
        trainable, others = variables

        def call(trainable, inputs):
          return model.stateless_call(trainable, others, inputs, training=False)[0]

        return reference.compute(call, trainable, inputs)

      arguments = jax.device_put((_values(model), reference.inputs))
      got = np.asarray(_compiled(numbers, arguments, precision)(*arguments), np.float64)
      error = float(np.abs(got - reference.want).max() / reference.want.std())
      rows.append(
        {
          'name': reference.name,
          'setting': setting,
          'error': error,
          'tolerance': tolerance,
          'agrees': error <= tolerance,
        }
      )
  return rows


def golden_weights(folder: str | os.PathLike[str]) -> types.ModuleType:
  """Imports `weights.py` of a folder of references: it computes weights from their names.

  Raises:
    ValueError: the folder has no such file.
  """
  path = pathlib.Path(folder) / 'weights.py'
  if not path.is_file():
    raise ValueError(f'--goldens={folder}: {path} is missing; give tests/goldens of a clone.')
  spec = importlib.util.spec_from_file_location('golden_weights', path)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module
