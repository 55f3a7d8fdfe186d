"""What a training script settles before it makes its trainer: devices, and batches that fit them."""
from tpu_utils import distribute


def create_strategy(hardware, *, training, expected_replicas=None):
  """The strategy that the flags ask for, printed; call before any other TensorFlow work.

  Args:
    hardware: a `config.HardwareConfig`.
    training: whether the job trains; what only evaluates or exports is one process.
    expected_replicas: raise if the strategy has another number of replicas; None for any.

  Raises:
    ValueError: the strategy cannot be used, or has another number of replicas.
  """
  strategy = distribute.create_strategy(
    hardware.strategy,
    use_tpu=hardware.use_tpu,
    tpu=hardware.tpu,
    tpu_zone=hardware.tpu_zone,
    gcp_project=hardware.gcp_project,
    tpu_job_name=hardware.tpu_job_name,
    several_workers=training,
  )
  print(distribute.describe(strategy))
  if expected_replicas not in (None, strategy.num_replicas_in_sync):
    raise ValueError(
      f'--num_replicas={expected_replicas}, but this job has {distribute.describe(strategy)}; leave '
      'the flag out, or check --strategy, --tpu and TF_CONFIG.'
    )
  return strategy


def check_batches(replicas, train_batch_size, eval_batch_size, accumulation_steps, unit='images'):
  """Raises ValueError unless the batches divide among replicas, and theirs into their parts.

  Args:
    replicas: number of replicas.
    train_batch_size: over all replicas.
    eval_batch_size: over all replicas.
    accumulation_steps: parts that each replica's training batch is split into.
    unit: what batches hold.
  """
  for flag, size in (('train', train_batch_size), ('eval', eval_batch_size)):
    if size % replicas:
      raise ValueError(
        f'--{flag}_batch_size={size} does not divide among {replicas} replicas; '
        f'take {size - size % replicas or replicas} or {size + replicas - size % replicas}.'
      )
  per_replica = train_batch_size // replicas
  if per_replica % accumulation_steps:
    raise ValueError(
      f'--gradient_accumulation_steps={accumulation_steps} does not divide the {per_replica} '
      f'{unit} that each replica gets of --train_batch_size={train_batch_size}.'
    )
