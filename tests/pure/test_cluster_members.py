"""Who the workers are, as each launcher tells it."""

import json
import socket
import threading

import pytest

from tfonline.cluster.members import Cluster, find
from tfonline.lifecycle import Exit, UserError


def of(kind, environment=None, workers="", index=0, model_dir="", secs=5.0, host="here"):
    return find(kind, workers, index, str(model_dir), secs, environment or {}, lambda: host)


def tf_config(kind, index, **cluster):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_no_cluster():
    assert of("none", {"TF_CONFIG": "{}", "OMPI_COMM_WORLD_SIZE": "4"}) is None


def test_a_list_of_hosts():
    cluster = of("hosts", workers="a:1, b:2,[::1]:3", index=1)
    assert cluster == Cluster(("a:1", "b:2", "[::1]:3"), 1)
    assert not cluster.chief
    assert of("hosts", workers="a:1,b:1", index=0).chief
    assert of("hosts", workers="a:1") is None  # alone


@pytest.mark.parametrize(
    ("workers", "index", "says"),
    [
        ("", 0, "'no worker' is no host:port"),
        ("a:1,b", 0, "'b' is no host:port"),
        ("a:1,b:x", 0, "'b:x' is no host:port"),
        ("a:1,a:1", 0, "stands twice"),
        ("a:1,b:1", 2, "no worker 2 among 2"),
        ("a:1,b:1", -1, "no worker -1 among 2"),
    ],
)
def test_a_wrong_list_of_hosts(workers, index, says):
    with pytest.raises(UserError, match=says) as e:
        of("hosts", workers=workers, index=index)
    assert e.value.code == Exit.FLAGS


def test_tf_config_with_and_without_a_chief():
    assert of("tf_config", tf_config("worker", 1, worker=["a:1", "b:1"])) == Cluster(("a:1", "b:1"), 1)
    with_chief = {"chief": ["c:1"], "worker": ["a:1", "b:1"]}
    assert of("tf_config", tf_config("chief", 0, **with_chief)) == Cluster(("c:1", "a:1", "b:1"), 0)
    assert of("tf_config", tf_config("worker", 1, **with_chief)) == Cluster(("c:1", "a:1", "b:1"), 2)
    assert of("tf_config", tf_config("worker", 0, worker=["a:1"])) is None


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "TF_CONFIG is not set"),
        ({"TF_CONFIG": "{"}, "not understood"),
        ({"TF_CONFIG": "[]"}, "not understood"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}}'}, "not understood"),
        (tf_config("ps", 0, ps=["a:1"], worker=["b:1"]), "makes this process a 'ps'"),
        (tf_config("worker", 2, worker=["a:1", "b:1"]), "no worker 2 among 2"),
    ],
)
def test_a_wrong_tf_config(environment, says):
    with pytest.raises(UserError, match=says) as e:
        of("tf_config", environment)
    assert e.value.code == Exit.FLAGS


MPI = {"PMIX_NAMESPACE": "7", "OMPI_COMM_WORLD_SIZE": "3"}
SLURM = {"SLURM_JOB_ID": "9", "SLURM_STEP_ID": "1", "SLURM_NTASKS": "3"}


@pytest.mark.parametrize(("kind", "common", "rank"), [("mpi", MPI, "OMPI_COMM_WORLD_RANK"), ("slurm", SLURM, "SLURM_PROCID")])
@pytest.mark.parametrize("hosts", [["x", "x", "x"], ["x", "y", "z"]])
def test_processes_of_a_launcher_find_each_other(tmp_path, kind, common, rank, hosts):
    found = [None] * 3

    def come(i):
        found[i] = of(kind, common | {rank: str(i)}, model_dir=tmp_path, host=hosts[i])

    threads = [threading.Thread(target=come, args=(i,)) for i in (2, 0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [c.index for c in found] == [0, 1, 2]
    assert len({c.workers for c in found}) == 1
    names = [w.rpartition(":")[0] for w in found[0].workers]
    assert names == (hosts if len(set(hosts)) > 1 else ["localhost"] * 3)
    assert len({w.rpartition(":")[2] for w in found[0].workers}) == 3
    with socket.create_server(("", int(found[0].workers[0].rpartition(":")[2]))):
        pass  # the port is free


def test_another_job_does_not_take_the_addresses_of_the_one_before(tmp_path):
    for job in ("7", "8"):
        with pytest.raises(UserError, match=r"worker\(s\) \[1\] of 2 have not come") as e:
            of(
                "mpi",
                {"PMIX_NAMESPACE": job, "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"},
                model_dir=tmp_path,
                secs=0.2,
            )
        assert e.value.code == Exit.TRY_AGAIN
        (tmp_path / "cluster" / f"mpi-{job}" / "1").write_text("y:1")


@pytest.mark.parametrize(
    ("kind", "says"), [("mpi", "OMPI_COMM_WORLD_RANK is not set.*mpirun"), ("slurm", "SLURM_PROCID is not set.*srun")]
)
def test_without_its_launcher(kind, says):
    with pytest.raises(UserError, match=says) as e:
        of(kind, {"PMIX_NAMESPACE": "7", "SLURM_JOB_ID": "9"})
    assert e.value.code == Exit.FLAGS


def test_one_process_of_a_launcher_is_no_cluster(tmp_path):
    one = {"PMIX_NAMESPACE": "7", "OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"}
    assert of("mpi", one, model_dir=tmp_path) is None
