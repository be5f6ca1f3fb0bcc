"""Collectives over workers: of a worker's replicas all take part, and the first speaks for it."""

from collections.abc import Callable

import tensorflow as tf


def of_workers(
    strategy: tf.distribute.Strategy, workers: int, collective: Callable[[tf.distribute.ReplicaContext, bool], tf.Tensor]
) -> tf.Tensor:
    """What `collective` gives; it is told a replica's context, and whether that replica speaks for its worker."""
    replicas = strategy.num_replicas_in_sync // workers

    def of_replica() -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        return collective(context, tf.get_static_value(context.replica_id_in_sync_group) % replicas == 0)

    return strategy.experimental_local_results(strategy.run(of_replica))[0]


def gather(strategy: tf.distribute.Strategy, workers: int, x: tf.Tensor) -> tf.Tensor:
    """Each worker's [b, ...] to [B, ...], in the workers' order."""
    return of_workers(strategy, workers, lambda context, first: context.all_gather(tf.identity(x) if first else x[:0], axis=0))
