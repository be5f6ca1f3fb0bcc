"""The replicas of a model: on which devices they are, and whether XLA can compile for them."""

import functools
import re

import tensorflow as tf

from tfonline.cluster.members import Cluster
from tfonline.lifecycle import Exit, UserError

_GROUP_KEY = 2**20  # of all GPUs that add up; TensorFlow's own begin at 1


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


def add_up(x: tf.Tensor, num_replicas: int) -> tf.Tensor:
    """The sum of what all replicas have, of any float type, in a function that XLA compiles for each one's GPU: by NCCL.

    What ReplicaContext.all_reduce does, but for its instance key: TensorFlow numbers each call anew, and a call would wait until
    the one before it has ended, as the number is copied from the host. XLA does not look at it.
    """
    return tf.raw_ops.CollectiveReduceV2(
        input=x, group_size=num_replicas, group_key=_GROUP_KEY + num_replicas, instance_key=0, ordering_token=[], merge_op="Add",
        final_op="Id", communication_hint="nccl",
    )  # fmt: skip


def try_xla(strategy: tf.distribute.Strategy) -> None:
    """Has XLA compile a product, and several GPUs add it up: what it lacks, it lacks for all.

    Raises:
      UserError: it does not work on the strategy's devices (exit 64).
    """
    devices = strategy.extended.worker_devices
    several_gpus = len(devices) > 1 and "GPU" in devices[0]

    def product(x: tf.Tensor) -> tf.Tensor:
        return add_up(x @ x, len(devices)) if several_gpus else x @ x

    compiled = tf.function(product, autograph=False, jit_compile=True)
    try:
        found = tf.function(lambda x: strategy.run(compiled, (x,)), autograph=False)(tf.ones([8, 8]))
        strategy.experimental_local_results(found)[0].numpy()  # a GPU that fails says so when it is read
    except tf.errors.OpError as e:
        why = re.sub(r"^\s*(\{\{.*?\}\}\s*)*", "", e.message)  # without the names of graph functions
        problem = f"--jit_compile: XLA cannot compile for {', '.join(devices)} ({(why.splitlines() or [type(e).__name__])[0]})"
        raise UserError(f"{problem}. Leave it out, or see BUILD.md on what XLA needs beside TensorFlow.", Exit.FLAGS) from e
