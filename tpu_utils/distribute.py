"""`tf.distribute` strategies from the values of flags, and agreement between workers."""
from __future__ import annotations

import json
import os

import tensorflow as tf

from tpu_utils.errors import one_line
from tpu_utils.names import check_name

_HOST_VARIABLE = 'TPU_LAUNCH_HOST'  # Set by `tpu_utils/launching/agent.py`.
STRATEGIES = ('auto', 'tpu', 'mirrored', 'multi_worker', 'one_device')

# TensorFlow's TPU build has a kernel for this op on this device. A graph rewrite puts the op in
# place of the public `ConfigureDistributedTPU`, which has a kernel in no build.
_TPU_KERNEL = ('_ConfigureDistributedTPU', 'TPU_SYSTEM')
_NO_TPU_KERNELS = (
  'this TensorFlow ({version}) has no TPU kernels. On a TPU VM install the TPU build '
  '(requirements-tpu.txt says how); without a TPU leave --tpu out.'
)


def create_strategy(
  name: str = 'auto',
  *,
  use_tpu: bool = True,
  tpu: str | None = None,
  tpu_zone: str | None = None,
  gcp_project: str | None = None,
  tpu_job_name: str | None = None,
  several_workers: bool = True,
) -> tf.distribute.Strategy:
  """Returns the `tf.distribute.Strategy` for `name`; call before any other TensorFlow work.

  Args:
    name: one of `STRATEGIES`. 'auto' chooses the TPU if `tpu` names one, the workers of TF_CONFIG
      if there are several, all GPUs if there are several, else one device. The network is not used
      unless a TPU is named.
    use_tpu: whether 'auto' may choose the TPU.
    tpu: 'local', a TPU's name or a grpc:// address.
    tpu_zone: the TPU's GCE zone.
    gcp_project: the TPU's project.
    tpu_job_name: name of the TPU cluster's worker job.
    several_workers: False if one process works alone even if TF_CONFIG is set: to evaluate the
      checkpoints of a running job, or to export.

  Raises:
    ValueError: the name is unknown, or the strategy cannot be used here.
  """
  check_name('value of --strategy', name, STRATEGIES)
  if name == 'auto':
    name = _automatic(tpu if use_tpu else None, several_workers)
  if name == 'tpu':
    return _tpu_strategy(tpu, tpu_zone, gcp_project, tpu_job_name)
  if name == 'multi_worker':
    if not _cluster_workers():
      raise ValueError(
        '--strategy=multi_worker needs the environment variable TF_CONFIG with its workers.'
      )
    if not several_workers:
      raise ValueError(
        '--strategy=multi_worker only trains; evaluate and export in one process, without it.'
      )
    return tf.distribute.MultiWorkerMirroredStrategy()
  if name == 'mirrored':
    return _mirrored_strategy()
  return tf.distribute.OneDeviceStrategy(_local_devices()[0])


def describe(strategy: tf.distribute.Strategy) -> str:
  """Returns a text such as 'MirroredStrategy, 2 replicas'."""
  count = strategy.num_replicas_in_sync
  # The class itself has another name than this public alias.
  several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
  name = 'MultiWorkerMirroredStrategy' if several else type(strategy).__name__
  return f'{name}, {count} replica{"" if count == 1 else "s"}'


def device_types() -> set[str]:
  """Returns the types of the devices that compute here: 'cpu', 'gpu' or 'tpu'.

  They are those of the current strategy. Without one TensorFlow uses GPUs if there are any, and
  never a TPU.
  """
  return _device_types(tf.distribute.get_strategy())


def on_cpus(strategy: tf.distribute.Strategy) -> bool:
  """Returns whether all replicas of the strategy compute on CPUs."""
  return _device_types(strategy) == {'cpu'}


def _device_types(strategy):
  try:
    devices = strategy.extended.worker_devices
  except RuntimeError:  # TensorFlow's default strategy, which leaves placement to TensorFlow.
    return {'gpu' if tf.config.list_logical_devices('GPU') else 'cpu'}
  return {tf.DeviceSpec.from_string(device).device_type.lower() for device in devices}


def has_tpu_kernels() -> bool:
  """Returns whether this is TensorFlow's TPU build, whose XLA compiles for TPUs alone."""
  # From the kernel registry: connecting would wait for the network before it failed.
  from tensorflow.python.framework import kernels

  op, device = _TPU_KERNEL
  registered = kernels.get_registered_kernels_for_op(op).kernel
  return device in {kernel.device_type for kernel in registered}


def is_chief(strategy: tf.distribute.Strategy) -> bool:
  """Returns whether this process writes the checkpoints, summaries and exports of the job.

  A single process drives all hosts of a TPU, and is the chief. Where `tpu_utils.launch` starts one
  on each host nevertheless (--processes=all), that of host 0 is.
  """
  resolver = strategy.cluster_resolver
  if isinstance(strategy, tf.distribute.TPUStrategy):
    return os.environ.get(_HOST_VARIABLE, '0') == '0'
  if resolver is None or not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
    return True
  return resolver.task_type in (None, 'chief') or (
    resolver.task_type == 'worker'
    and resolver.task_id == 0
    and 'chief' not in resolver.cluster_spec().as_dict()
  )


class Workers:
  """The worker processes of a job, which must make the same decisions.

  Every worker must call these methods in the same order: each call waits for all workers.

  Attributes:
    several: whether there is more than one process.
    is_chief: whether this process writes the job's files.
  """

  def __init__(self, strategy: tf.distribute.Strategy):
    self._strategy = strategy
    self.several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    self.is_chief = is_chief(strategy)

  def any(self, flag: bool) -> bool:
    """Returns whether `flag` is true on any worker."""
    return any(self.gather(int(flag))) if self.several else bool(flag)

  def gather(self, number: int) -> list[int]:
    """Returns each replica's `number`; the replicas of a worker have the same one."""
    if not self.several:
      return [number]
    return self._gather(tf.constant(number, tf.int64)).numpy().tolist()

  @tf.function
  def _gather(self, number):
    def replica():
      context = tf.distribute.get_replica_context()
      place = context.replica_id_in_sync_group
      row = number * tf.one_hot(place, context.num_replicas_in_sync, dtype=tf.int64)
      return context.all_reduce(tf.distribute.ReduceOp.SUM, row)

    return self._strategy.experimental_local_results(self._strategy.run(replica))[0]


def _automatic(tpu, several_workers=True):
  if tpu is not None:
    return 'tpu'
  if several_workers and len(_cluster_workers()) > 1:
    return 'multi_worker'
  return 'mirrored' if len(tf.config.list_logical_devices('GPU')) > 1 else 'one_device'


def _cluster_workers():
  cluster = json.loads(os.environ.get('TF_CONFIG') or '{}').get('cluster', {})
  return cluster.get('chief', []) + cluster.get('worker', [])


def _local_devices():
  gpus = tf.config.list_logical_devices('GPU')
  devices = gpus or tf.config.list_logical_devices('CPU')
  return [f'{d.device_type}:{i}' for i, d in enumerate(devices)]


def _mirrored_strategy():
  devices = _local_devices()
  # On CPUs TensorFlow's collectives share keys between all strategies of the process and fail if
  # there are two. Several CPU devices serve for tests and trials, where speed does not matter.
  on_cpu = devices[0].startswith('CPU')
  reduction = tf.distribute.ReductionToOneDevice() if on_cpu else None
  return tf.distribute.MirroredStrategy(devices, reduction)


def _tpu_strategy(tpu, zone, project, job_name):
  if not tpu:
    raise ValueError(
      '--strategy=tpu needs --tpu: `local` on a TPU VM, a TPU name, or a grpc:// address.'
    )
  # A remote TPU needs them here, too: this process rewrites the functions that it sends there.
  if not has_tpu_kernels():
    raise ValueError(f'--tpu={tpu}: {_NO_TPU_KERNELS.format(version=tf.__version__)}')
  resolver = _look_up(tpu, zone, project, job_name)
  try:
    tf.config.experimental_connect_to_cluster(resolver)  # Does nothing for a local TPU.
    tf.tpu.experimental.initialize_tpu_system(resolver)
  except (tf.errors.NotFoundError, tf.errors.InternalError) as e:
    # The second is libtpu's answer where there is no TPU, or another process holds it.
    reason = one_line(e).rpartition('<stack traces unavailable> ')[2]
    raise ValueError(
      f'--tpu={tpu}: no TPU was found, or another process uses it ({reason}); run this on a TPU '
      'VM, one process at a time.'
    ) from e
  except (tf.errors.OpError, RuntimeError, ValueError) as e:
    raise ValueError(f'--tpu={tpu} cannot be reached: {one_line(e)}') from e
  # Without a device assignment each core is a replica.
  return tf.distribute.TPUStrategy(resolver)


def _look_up(tpu, zone, project, job_name):
  """Returns the cluster resolver; looks a name up in Google Cloud, and nothing else."""
  arguments = {'job_name': job_name} if job_name else {}
  try:
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
      tpu, zone=zone, project=project, **arguments
    )
    resolver.cluster_spec()
  except OSError as e:  # Of the metadata server, which knows a VM's own project and zone.
    raise ValueError(
      f'--tpu={tpu} cannot be looked up: --gcp_project and --tpu_zone are not both given, and no '
      f'metadata server names them, as on a VM of Google Cloud ({one_line(e)}); give both, or '
      '--tpu=local on the TPU VM itself.'
    ) from e
  except Exception as e:  # Google's client raises errors of its own, with no common type.
    raise ValueError(f'--tpu={tpu} cannot be looked up: {one_line(e)}') from e
  return resolver
