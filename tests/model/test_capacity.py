"""What a run needs, reckoned beforehand, against what a model really takes; and what is free, against what the kernel says."""

import os
import pathlib
import subprocess
import sys

import pytest
from checkpoint_helpers import checkpoints_of
from learner_helpers import learner_by_flags

from tfonline import folders
from tfonline.capacity import Needs, amount, check_room, free_gpu_memory, free_memory, needs
from tfonline.config import of_flags
from tfonline.features.kinds.integer import numeric_input
from tfonline.features.spec import Spec
from tfonline.lifecycle import Exit, Stop, UserError
from tfonline.model.sizes import Sizes, reckon
from tfonline.model.tables.replicas import make_strategy
from tfonline.settings.keeping import KeepingSettings, ServingSettings

KEEPING, SERVING = KeepingSettings(), ServingSettings()

ALL = {"history": True, "cross_buckets": 5, "average_rows": 100}
PLENTY = 10**13  # more memory, and a larger file's size, than any machine has that runs this


def test_the_formula_by_hand():
    # R = 10. Three fields of 2 numbers, layers 4 and 1: T = (6 + 1) 4 + (4 + 1) = 33, L = 10 (1 + 2) + 1 + 33 = 64.
    small = of_flags(embedding_dim=2, deep_layers="4")
    assert reckon(Spec.of(9, 3), small.model) == Sizes(checkpoint=4 * 3 * 64 + 8, version=4 * 64, table=29 * 9, rows=9)
    # 3 (2 + 2 + 1) = 15 inputs: T = 16 * 4 + 5 = 69, L = 30 + 1 + 69 = 100, C = (2 * 10 + 2) + (2 * 6 + 2) + (69 + 3) = 108.
    all_of_it = of_flags(embedding_dim=2, deep_layers="4", **ALL)
    assert reckon(Spec.of(9, 3, cross_buckets=5), all_of_it.model) == Sizes(
        checkpoint=4 * 408 + 8, version=4 * 208, table=29 * 9, rows=14
    )


@pytest.mark.parametrize(
    ("flags", "fields", "numbers", "scaled"),
    [
        ({}, 5, 2, None),
        ({"deep_layers": "8"}, 5, 0, 3),
        ({"deep_layers": "16,8,4", **ALL}, 5, 3, 0),
        ({"deep_layers": "16,8", **ALL}, 1, 1, 0),
        ({"deep_layers": "8", "replay": 2, "replay_rows": 300, "batch_size": 100, **ALL}, 4, 2, 0),
        ({"num_replicas": 2, "devices": "cpu", **ALL}, 4, 2, None),
    ],
)
def test_a_checkpoint_is_as_large_as_reckoned(tmp_path, flags, fields, numbers, scaled):
    config = of_flags(model_dir=str(tmp_path), embedding_dim=16, **flags)
    spec = Spec.of(20_000, fields, numeric_input(numbers), scaled, cross_buckets=config.features.cross_buckets)
    learner = learner_by_flags(make_strategy(config.learning.num_replicas, "cpu"), config, spec)
    sizes = reckon(spec, config.model)
    assert sum(v.shape.num_elements() * v.dtype.size for v in learner.variables) == sizes.checkpoint
    assert sum(v.shape.num_elements() * v.dtype.size for v in learner.all_weights) == sizes.version
    checkpoints = checkpoints_of(tmp_path, learner)
    checkpoints.begin(Stop().saving)
    checkpoints.finished(wait=True)
    checkpoints.close()
    written = sum(file.stat().st_size for file in tmp_path.glob("ckpt-0.*"))
    assert sizes.checkpoint < written < sizes.checkpoint * 1.02


def test_other_optimizers_and_several_labels_are_reckoned():
    flags = {"table_optimizers": "embedding:rowwise_adagrad,wide:adagrad", "history": True, "cross_buckets": 5, "embedding_dim": 4}
    config = of_flags(**flags)
    spec = Spec.of(200, 5, numeric_input(2), 0, cross_buckets=5, heads=("click", "conversion"))
    learner, sizes = learner_by_flags(make_strategy(1, "cpu"), config, spec), reckon(spec, config.model)
    assert sum(v.shape.num_elements() * v.dtype.size for v in learner.variables) == sizes.checkpoint
    assert sum(v.shape.num_elements() * v.dtype.size for v in learner.all_weights) == sizes.version


def test_what_a_process_needs():
    sizes = Sizes(checkpoint=1000, version=400, table=30)
    alone = KeepingSettings(background_save=False)
    assert needs(alone, SERVING, sizes, 1, on_gpu=False, chief=True) == Needs(memory=1000, gpu=0, model_dir=6000, export_dir=0)
    assert needs(KEEPING, SERVING, sizes, 2, on_gpu=False, chief=True) == Needs(memory=3000, gpu=0, model_dir=6000, export_dir=0)
    publishes = KeepingSettings(keep_checkpoints=3), ServingSettings(export_dir="x", keep_exports=4)
    # (3 + 1 + 4) checkpoints and a table, (4 + 1) versions with one each.
    assert needs(*publishes, sizes, 1, on_gpu=False, chief=True) == Needs(3200, 0, 8030, 2150)
    assert needs(*publishes, sizes, 4, on_gpu=True, chief=True) == Needs(1000, 2200, 8030, 2150)
    assert needs(*publishes, sizes, 1, on_gpu=False, chief=False) == Needs(1000, 0, 0, 0)
    # Deltas take one more version, and nine bytes a row.
    deltas = KeepingSettings(keep_checkpoints=3), ServingSettings(export_dir="x", keep_exports=4, delta_every_secs=5)
    rows = sizes._replace(rows=50)
    assert needs(*deltas, rows, 1, on_gpu=False, chief=True) == Needs(3200 + 400 + 450, 0, 8030, 2150)
    assert needs(*deltas, rows, 1, on_gpu=False, chief=False) == Needs(1000, 0, 0, 0)


def test_a_model_that_memory_does_not_hold_is_refused():
    sizes = Sizes(PLENTY, PLENTY // 3, 0)
    with pytest.raises(
        UserError, match=r"the run needs 20 TB of memory \(a model with its slots takes 10 TB; replicas: 1; .*"
    ) as e:
        check_room(KEEPING, SERVING, Needs(2 * PLENTY, 0, 0, 0), sizes, 1)
    assert e.value.code == Exit.FLAGS == 64
    assert "--embedding_dim" in str(e.value)


def test_a_disk_that_is_too_small_is_refused_and_what_is_there_counts(tmp_path):
    config = of_flags(model_dir=str(tmp_path / "model"), export_dir=str(tmp_path / "models"))
    sizes, needed = Sizes(PLENTY, 0, 0), Needs(0, 0, PLENTY, 5000)
    with pytest.raises(UserError, match=r"needs 10 TB more of the disk that .*model lies on, and .* --keep_checkpoints=5,") as e:
        check_room(config.keeping, config.serving, needed, sizes, 1)
    assert e.value.code == Exit.CANNOT_WRITE == 73
    with pytest.raises(UserError, match=r"needs 10 TB more of the disk that .*model lies on"):  # the two folders lie on one
        check_room(config.keeping, config.serving, Needs(0, 0, 5000, PLENTY), sizes, 1)
    (tmp_path / "model" / "published").mkdir(parents=True)
    half = tmp_path / "model" / "ckpt-7.data-00000-of-00001"
    with half.open("wb") as f:
        f.truncate(PLENTY // 2)  # a hole: no block of the disk
    os.link(half, tmp_path / "model" / "published" / half.name)  # a second name is no second file
    with pytest.raises(UserError, match=r"needs 5\.0 TB more"):
        check_room(config.keeping, config.serving, needed, sizes, 1)
    os.truncate(half, PLENTY)
    said = check_room(config.keeping, config.serving, needed, sizes, 1)
    assert f"disk 10 TB in {tmp_path}/model (" in said
    assert f"disk 5.0 kB in {tmp_path}/models (" in said


MEMINFO = "MemTotal:       16000000 kB\nMemFree:  1 kB\nMemAvailable:    8000000 kB\nSwapFree:        1000000 kB\n"


def group(folder: pathlib.Path, limit, taken, cache) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{taken}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cache}\nactive_file 7\n")


def test_free_memory_is_the_machines_and_that_of_each_group(tmp_path):
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(MEMINFO)
    assert free_memory(proc, cgroups) == 9_000_000 * 1024
    (proc / "self" / "cgroup").write_text("0::/system.slice/tfonline.service\n")
    assert free_memory(proc, cgroups) == 9_000_000 * 1024
    service = cgroups / "system.slice" / "tfonline.service"
    group(service, "max", 10**9, 0)
    assert free_memory(proc, cgroups) == 9_000_000 * 1024
    group(service, 4 * 10**9, 10**9, 5 * 10**8)
    assert free_memory(proc, cgroups) == 35 * 10**8
    group(service.parent, 2 * 10**9, 10**9, 0)  # a group's limit is its children's
    assert free_memory(proc, cgroups) == 10**9
    group(cgroups, 10**9, 15 * 10**8, 0)  # as a container sees its own
    assert free_memory(proc, cgroups) == 0
    assert 0 < free_memory() < PLENTY


def test_free_memory_of_gpus_is_the_fullest_ones(tmp_path, monkeypatch):
    def answer(script):
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    answer('test "$*" = "--query-gpu=memory.free --format=csv,noheader,nounits" && printf "81000\\n79000\\n500\\n"')
    assert free_gpu_memory(1) == 81_000 << 20
    assert free_gpu_memory(2) == 79_000 << 20
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    answer('test "$3 $4" = "-i 2,0" && printf "81000\\n500\\n"')
    assert free_gpu_memory(2) == 500 << 20
    answer("echo '[Insufficient Permissions]'")
    assert free_gpu_memory(1) is None
    answer("exit 9")
    assert free_gpu_memory(1) is None


def test_amounts():
    assert [amount(n) for n in (0, 999, 1000, 9_940, 164_000_000, 1_640_000_000, 999 * 10**9, 10**13, 10**19)] == [
        "0 bytes", "999 bytes", "1.0 kB", "9.9 kB", "164 MB", "1.6 GB", "999 GB", "10 TB", "10,000 PB",
    ]  # fmt: skip


# Folders


@pytest.mark.parametrize("of", [folders.make, folders.check])
@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/proc/x", "No such file"),
        ("/proc/self/status/x", "Not a directory"),
        ("/dev/null", "File exists"),
        ("x" * 300, "too long"),
    ],
)
def test_a_folder_that_cannot_be_made_is_told(of, path, why):
    with pytest.raises(UserError, match=rf"--model_dir={path} cannot be made or written \(.*{why}") as e:
        of(path, "--model_dir")
    assert e.value.code == Exit.CANNOT_WRITE == 73


@pytest.mark.parametrize(
    "command",
    [["broker.py", "start", "--data=/proc/x"], ["launch.py", "--num_workers=2", "--log_dir=/proc/x", "--", "--topic=clicks"]],
)
def test_tools_tell_it_too(command):
    done = subprocess.run([sys.executable, f"tools/{command[0]}", *command[1:]], capture_output=True, text=True)
    assert done.returncode == 73
    assert "=/proc/x cannot be made or written (No such file or directory). Give a folder that can be." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_check_leaves_everything_as_it_was(tmp_path):
    folders.check(str(tmp_path / "a" / "b"), "--model_dir")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    folders.check(str(tmp_path / "a"), "--model_dir")
    folders.check(str(tmp_path / "a" / "b" / "c"), "--model_dir")
    assert list(tmp_path.rglob("*")) == [tmp_path / "a", tmp_path / "a" / "file"]
    folders.make(str(tmp_path / "a" / "b"), "--model_dir")
    assert (tmp_path / "a" / "b").is_dir()
