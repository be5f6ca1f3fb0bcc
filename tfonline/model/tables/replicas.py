"""The replicas of a model: on which devices they are, and how to reach a replica's copy of a mirrored variable."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfonline.cluster.collectives import gather
from tfonline.cluster.members import Cluster
from tfonline.features.batch import Examples
from tfonline.lifecycle import Exit, UserError


def this_replica() -> int:
    """Its number, in a replica's context; 0 where no replica runs."""
    context = tf.distribute.get_replica_context()
    return tf.get_static_value(context.replica_id_in_sync_group) if context else 0


def own(mirrored: Any) -> Any:
    """This replica's copy of a mirrored variable, on its device; the first one where no replica runs."""
    copies = tf.distribute.get_strategy().experimental_local_results(mirrored)  # this worker's
    return copies[this_replica() % len(copies)]


def read_first(variable: Any) -> tf.Tensor:
    """A variable's value, read outside of any replica; of a mirrored one, the first replica's."""
    variable = variable if isinstance(variable, tf.Variable) else getattr(variable, "value", variable)
    return tf.distribute.get_strategy().experimental_local_results(variable)[0].read_value()


def first_copy(variable: Any) -> Any:
    """Of a mirrored variable the first copy of this process, a plain tf.Variable; anything else as it is."""
    return variable.values[0] if isinstance(variable, tf.distribute.DistributedValues) else variable


def make_strategy(num_replicas: int, devices: str, cluster: Cluster | None = None) -> tf.distribute.Strategy:
    """MirroredStrategy over GPUs or, where there are none, over logical CPU devices; in a cluster, MultiWorkerMirroredStrategy.

    Call it before TensorFlow has run anything: logical devices cannot be made later. In a cluster it waits for all workers.

    Args:
      num_replicas: how many, of this process.
      devices: `gpu`, `cpu`, or `auto` for GPUs where there are enough of them.
      cluster: the workers, or None.

    Raises:
      UserError: `gpu` was asked for and TensorFlow sees too few (exit 64); or several replicas on one worker's CPU (64).
    """
    gpus = tf.config.list_physical_devices("GPU")
    if devices == "gpu" and len(gpus) < num_replicas:
        raise UserError(
            f"--devices=gpu --num_replicas={num_replicas}, but TensorFlow sees {len(gpus)} GPUs. Check nvidia-smi, and BUILD.md on "
            "the CUDA libraries that TensorFlow needs, or use --devices=cpu.",
            Exit.FLAGS,
        )
    if devices != "cpu" and len(gpus) >= num_replicas:
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        if cluster:
            tf.config.set_visible_devices(gpus[:num_replicas], "GPU")
            return _over_workers(cluster)
        return _mirrored("GPU", num_replicas)
    tf.config.set_visible_devices([], "GPU")
    if cluster:
        if num_replicas > 1:
            problem = f"--num_replicas={num_replicas} on the CPUs of a cluster's worker: TensorFlow has one replica there"
            raise UserError(f"{problem}. Use 1, and more workers.", Exit.FLAGS)
        return _over_workers(cluster)
    cpu = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(cpu) or [None]) < num_replicas:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * num_replicas)
    return _mirrored("CPU", num_replicas)


@functools.cache  # one for a set of devices: in a process with two, the collectives of one take the other's tensors
def _mirrored(kind: str, num_replicas: int) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(num_replicas)])


def _over_workers(cluster: Cluster) -> tf.distribute.Strategy:
    """All of a worker's visible GPUs, or its CPU, are its replicas."""
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.workers)}), task_type="worker", task_id=cluster.index, rpc_layer="grpc"
    )
    return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)


class Replicas:
    """The replicas of a strategy, of one worker or of several: what is run on all, brought to each, cut up for each.

    Args:
      strategy: theirs.
      cluster: the workers over which it reaches; None: this process only.

    Attributes:
      strategy: theirs.
      count: how many, over all workers.
      of_worker: how many each worker has.
      workers: how many there are.
    """

    def __init__(self, strategy: tf.distribute.Strategy, cluster: Cluster | None = None):
        self.strategy, self.count = strategy, strategy.num_replicas_in_sync
        self._worker, self.workers = (cluster.index, len(cluster.workers)) if cluster else (0, 1)
        self.of_worker = self.count // self.workers
        self.run, self.copies_of = strategy.run, strategy.experimental_local_results

    @property
    def on_gpu(self) -> bool:
        """Whether they are GPUs."""
        return "GPU" in self.strategy.extended.worker_devices[0]

    def on_device(self, examples: Examples) -> Examples:
        """Copied to the first GPU where they are GPUs; else as it is.

        TensorFlow keeps int32 in the host's memory, and would copy ids to the GPU anew for each use: there they are int64.
        """
        if not self.on_gpu:
            return examples

        def copied(t: tf.Tensor) -> tf.Tensor:  # int32 as uint32, which is half of int64 on the way
            return tf.cast(tf.bitcast(t, tf.uint32), tf.int64) if t.dtype == tf.int32 else tf.identity(t)

        with tf.device(self.strategy.extended.worker_devices[0]):
            return tf.nest.map_structure(copied, examples)

    def split(self, axis: int, batches: Examples) -> Examples:
        """Each replica's rows of [B, ...] tensors, or of [N, B, ...] where the axis is 1."""
        if self.workers > 1:
            of_all = (batches.label, batches.weight)
            label, weight = tf.nest.map_structure(lambda x: share(self._worker, self.workers, x), of_all)
            batches = batches._replace(label=label, weight=weight)
        if self.of_worker == 1:
            return batches
        return tf.nest.map_structure(lambda x: self.each(lambda copy: share(copy, self.of_worker, x, axis)), batches)

    def each(self, of_copy: Callable[[int], tf.Tensor]) -> tf.distribute.DistributedValues:
        """What it gives for each of this worker's replicas, brought to its device."""
        devices = self.strategy.extended.worker_devices

        def bring(context: tf.distribute.ReplicaContext) -> tf.Tensor:
            copy = context.replica_id_in_sync_group % self.of_worker
            x = of_copy(copy)
            with tf.device(devices[copy]):
                return tf.identity(x)

        return self.strategy.experimental_distribute_values_from_function(bring)

    def of_all_workers(self, x: tf.Tensor) -> tf.Tensor:
        """Each worker's [b, ...] to [B, ...], in the workers' order."""
        if self.workers == 1:
            return x
        found = gather(self.strategy, self.workers, x)
        return tf.ensure_shape(found, [x.shape[0] * self.workers, *x.shape[1:]])


def share(part: int, of: int, x: tf.Tensor, axis: int = 0) -> tf.Tensor:
    """Of so many equal parts of [B, ...], or of [N, B, ...] where the axis is 1, this one."""
    rows = x.shape[axis] // of
    own_rows = slice(part * rows, (part + 1) * rows)
    return x[:, own_rows] if axis else x[own_rows]
