"""Who the workers of a job are: told by TF_CONFIG, Open MPI, Slurm, or a list of hosts. Imports no TensorFlow.

Open MPI and Slurm say how many processes there are and which one this is, but not where the others listen. Each leaves its address
in the model folder, which all of them share, under a name that no other job has.
"""

import dataclasses
import json
import os
import pathlib
import socket
import time
from collections.abc import Callable, Mapping

from tfonline.lifecycle import Exit, UserError

# What the launchers set: the job, this process, and how many there are.
_MPI = (("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"), ("OMPI_COMM_WORLD_RANK",), ("OMPI_COMM_WORLD_SIZE",))
_SLURM = (("SLURM_JOB_ID",), ("SLURM_PROCID",), ("SLURM_NTASKS",))
_POLL_SECS = 0.05


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of a job.

    Attributes:
      workers: host:port of each.
      index: which of them this process is; 0 is the chief, which plans the windows and writes all that is written once.
    """

    workers: tuple[str, ...]
    index: int

    @property
    def chief(self) -> bool:
        """Whether this process is the chief."""
        return self.index == 0


def find(
    kind: str,
    workers: str,
    worker_index: int,
    model_dir: str,
    timeout_secs: float,
    environment: Mapping[str, str] = os.environ,
    host: Callable[[], str] = socket.gethostname,
) -> Cluster | None:
    """The cluster that this process is a part of; None for `none`, and for one worker.

    Args:
      kind: `none`, `tf_config`, `mpi`, `slurm` or `hosts`.
      workers: with `hosts`, host:port[,host:port].
      worker_index: with `hosts`, which of them this is.
      model_dir: the folder that all workers share.
      timeout_secs: how long to wait for the others' addresses.
      environment: variables.
      host: this machine's name, by which the others reach it.

    Raises:
      UserError: what the launcher should have set is not there or makes no sense (exit 64), or others do not come (75).
    """
    if kind == "none":
        return None
    if kind == "hosts":
        addresses = [w.strip() for w in workers.split(",") if w.strip()]
        return _checked(addresses, worker_index, f"--workers={workers} --worker_index={worker_index}")
    if kind == "tf_config":
        return _of_tf_config(environment.get("TF_CONFIG", ""))
    names, launcher = (_MPI, "mpirun -n 4") if kind == "mpi" else (_SLURM, "srun -n 4")
    values = [next((environment[name] for name in alternatives if name in environment), None) for alternatives in names]
    if None in values:
        missing = " or ".join(names[values.index(None)])
        start = f"Start it by `{launcher} python -m tfonline.train ...`."
        raise UserError(f"--cluster={kind}, but {missing} is not set. {start}", Exit.FLAGS)
    job, index, size = values[0], int(values[1]), int(values[2])
    if kind == "slurm":
        job = "-".join([job, *(environment.get(name, "0") for name in ("SLURM_STEP_ID", "SLURM_RESTART_COUNT"))])
    if size == 1:
        return None
    addresses = _meet(pathlib.Path(model_dir) / "cluster" / f"{kind}-{job}", index, size, timeout_secs, host())
    return _checked(addresses, index, f"--cluster={kind}")


def _of_tf_config(text: str) -> Cluster | None:
    """As Kubernetes' training operator sets it. A chief, where there is one beside the workers, is worker 0."""
    expected = 'such as {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
    if not text:
        raise UserError(f"--cluster=tf_config, but TF_CONFIG is not set. Expected JSON {expected}.", Exit.FLAGS)
    try:
        config = json.loads(text)
        cluster, kind, index = config["cluster"], config["task"]["type"], int(config["task"]["index"])
        chiefs, workers = list(cluster.get("chief", [])), list(cluster.get("worker", []))
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise UserError(f"TF_CONFIG is not understood ({e!r}). Expected JSON {expected}.", Exit.FLAGS) from e
    if kind not in ("chief", "worker"):
        problem = f"TF_CONFIG makes this process a {kind!r}; tfonline has chief and worker only"
        raise UserError(f"{problem}. Leave out such replicas.", Exit.FLAGS)
    addresses = chiefs + workers
    return _checked(addresses, index + (len(chiefs) if kind == "worker" else 0), "TF_CONFIG")


def _checked(addresses: list[str], index: int, where: str) -> Cluster | None:
    wrong = [a for a in addresses if not a.rpartition(":")[0] or not a.rpartition(":")[2].isdecimal()]
    if not addresses or wrong:
        raise UserError(f"{where}: {wrong[0] if wrong else 'no worker'!r} is no host:port.", Exit.FLAGS)
    if len(set(addresses)) < len(addresses):
        raise UserError(f"{where}: an address stands twice. Each worker needs its own.", Exit.FLAGS)
    if not 0 <= index < len(addresses):
        raise UserError(f"{where}: there is no worker {index} among {len(addresses)}.", Exit.FLAGS)
    return Cluster(tuple(addresses), index) if len(addresses) > 1 else None


def _meet(folder: pathlib.Path, index: int, size: int, timeout_secs: float, host: str) -> list[str]:
    """Leaves this worker's address and waits for the others'."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{index}"
    beside.write_text(f"{host}:{port}")
    beside.rename(folder / str(index))
    deadline = time.monotonic() + timeout_secs
    while missing := [i for i in range(size) if not (folder / str(i)).exists()]:
        if time.monotonic() > deadline:
            raise UserError(
                f"worker(s) {missing} of {size} have not come to {folder} within --worker_timeout_secs={timeout_secs:g}. Do all "
                "share --model_dir?",
                Exit.TRY_AGAIN,
            )
        time.sleep(_POLL_SECS)
    addresses = [(folder / str(i)).read_text() for i in range(size)]
    hosts = {a.rpartition(":")[0] for a in addresses}
    # On one machine its name need not resolve.
    return [f"localhost:{a.rpartition(':')[2]}" for a in addresses] if len(hosts) == 1 else addresses
