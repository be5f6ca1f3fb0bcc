"""The replicas of a model: on which devices they are, and how to reach a replica's copy of a mirrored variable."""

import functools
from typing import Any

import tensorflow as tf

from tfonline.cluster.members import Cluster
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
            "the CUDA libraries that TensorFlow 2.16 needs, or use --devices=cpu.",
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
