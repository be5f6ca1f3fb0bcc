"""How steps are taken: batches, replicas, devices, workers."""

import dataclasses

from tfonline import flags
from tfonline.flags import flag, wrong


@dataclasses.dataclass(frozen=True)
class LearningSettings:
    """The steps of this process."""

    # fmt: off
    batch_size: int = flag(1000, "Rows a step, over all replicas.", lower=1)
    steps_per_call: int = flag(1, "Steps that TensorFlow takes in one call, one after the other, as far as the window "
                               "has rows. More is faster with small batches, above all on a GPU; it changes no step.", lower=1)
    jit_compile: bool = flag(False, "Have XLA compile the train step: a GPU then waits for few kernels where "
                             "TensorFlow launches hundreds. Calls that a window's end leaves short are compiled, too, on a GPU. "
                             "Not with --cluster.")
    num_replicas: int = flag(1, "Replicas of the model under MirroredStrategy; --batch_size is divided over them.",
                             lower=1)
    devices: str = flag("auto", "auto (GPUs if there are enough, else CPU), gpu or cpu.",
                        choices=("auto", "gpu", "cpu"))
    # fmt: on

    def __post_init__(self) -> None:
        flags.check(self)
        if self.batch_size % self.num_replicas:
            low = self.batch_size // self.num_replicas * self.num_replicas
            multiples = " or ".join(str(n) for n in (low, low + self.num_replicas) if n)
            raise wrong(
                f"--batch_size={self.batch_size} does not divide over {self.num_replicas} replicas. "
                f"Use a multiple of {self.num_replicas}, such as {multiples}."
            )


@dataclasses.dataclass(frozen=True)
class WorkerSettings:
    """Other processes that learn the same model."""

    # fmt: off
    cluster: str = flag("none", "Train by several processes, which share --model_dir and of which each reads the "
                        "partitions p with p mod workers = its index: none; tf_config, by TF_CONFIG; mpi, by Open MPI's mpirun; "
                        "slurm, by srun; hosts, by --workers. --batch_size is over all of them.",
                        choices=("none", "tf_config", "mpi", "slurm", "hosts"))
    workers: str = flag("", "With --cluster=hosts: host:port of each worker, comma separated, the chief first.")
    worker_index: int = flag(0, "With --cluster=hosts: which of them this process is.", lower=0)
    worker_timeout_secs: float = flag(120.0, "A worker ends with exit code 75 when it has waited for the others for so "
                                      "long; longer than a checkpoint takes that is not saved in the background.", lower=1)
    partition_groups: int = flag(1, "In one process: fill each batch in equal parts from so many groups of partitions, "
                                 "as so many workers do.", lower=1)
    # fmt: on

    def __post_init__(self) -> None:
        flags.check(self)
        if self.cluster != "none" and self.partition_groups > 1:
            raise wrong("--partition_groups is for one process: each worker of a --cluster is a group. Leave it out.")
        if self.cluster != "hosts" and (self.workers or self.worker_index):
            raise wrong(f"--workers and --worker_index are for --cluster=hosts, not --cluster={self.cluster}. Leave them out.")
