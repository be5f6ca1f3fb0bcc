"""What befalls a trainer while it publishes: killed, without a disk, beside another one. Each is a process of its own."""

import ast
import json
import re
import sys

import pytest
from disk_helpers import command_line, on_a_disk
from rows import make_dictionaries, make_rows
from tensorboard_helpers import events_of

from benchmarks.chaos.trainer import Trainer, command_of
from tfonline.publish.versions import Versions

ROWS = make_rows(20_000)


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    """Flags of a run that publishes as often as it can."""
    folder = tmp_path_factory.mktemp("stream")
    (folder / "rows.tsv").write_bytes(b"\n".join(ROWS[:10_000]))
    return {
        "input_files": folder / "rows.tsv",
        "dictionary_dir": make_dictionaries(folder / "dictionaries"),
        "stop_at": "latest",
        "batch_size": 20,
        "window_rows": 200,
        "checkpoint_every_steps": 50,
        "embedding_dim": 2,
        "deep_layers": "4",
        "report_secs": 0.1,
        "export_every_windows": 1,
        "keep_exports": 100,
        "gate_rows": 200,
        "gate_min_auc": 0,
        "gate_calibration": 0,
        "gate_max_regression": 1,
    }


@pytest.fixture
def start(stream, tmp_path):
    """Starts a trainer: start(name) has its model in <name>, its output in <name>.log; all publish into <tmp_path>/export."""
    trainers = []

    def start(name, **changed):
        flags = {**stream, "model_dir": tmp_path / name, "export_dir": tmp_path / "export", **changed}
        trainers.append(Trainer(command_of(""), flags, tmp_path / f"{name}.log"))
        return trainers[-1]

    yield start
    for trainer in trainers:
        trainer.kill()


def rows_of(model):
    return json.loads((model / "summary.json").read_bytes())["rows"]


def published_by(log):
    return [int(number) for number in re.findall(r"published version (\d+) in", log.read_text())]


def test_killed_while_it_publishes(start, tmp_path):
    export, rows, numbers = tmp_path / "export", tmp_path / "all.tsv", []
    rows.write_bytes(b"\n".join(ROWS))
    versions = Versions(export)
    moments = {
        ".*.tmp": lambda: any(export.glob(".*.tmp")),
        ".*.tmp/version/saved_model.pb": lambda: any(export.glob(".*.tmp/version/saved_model.pb")),
        "a second version": lambda: versions.numbers and any(export.glob(".*.tmp/version/assets.extra")),
    }
    for moment, come in moments.items():
        trainer = start("model", input_files=rows)
        trainer.wait_until(lambda *_, come=come: come(), 60, f"waiting for {moment}")
        trainer.kill()
        assert any(export.glob(".*.tmp")) or moment == "a second version"
        assert versions.numbers[: len(numbers)] == numbers
        numbers = versions.numbers
        assert [versions.problems(number) for number in numbers] == [[]] * len(numbers)
    *whole, damaged = numbers
    (export / str(damaged) / "manifest.json").write_text("{")
    trainer = start("model", input_files=rows)
    trainer.wait_for_exit(0, 90, "the last start")
    assert f"version {damaged} is damaged: the stream is not scored by it" in (tmp_path / "model.log").read_text()
    assert rows_of(tmp_path / "model") == len(ROWS)
    new = [number for number in versions.numbers if number > damaged]
    assert len(new) >= 2
    assert versions.numbers == [*whole, damaged, *new]
    assert [versions.problems(number) for number in whole + new] == [[]] * len(whole + new)
    assert not list(export.glob(".*.tmp"))
    events = events_of(tmp_path / "model" / "tensorboard")
    stalls = [
        stall / secs
        for (_, stall), (_, secs) in zip(
            events["train/serving/export_stall_secs"], events["train/serving/export_secs"], strict=True
        )
    ]
    assert 0 < min(stalls) < 0.1


@pytest.mark.parametrize("fault", ["cat /dev/zero > $DISK/ballast", "until mount -o remount,ro $DISK; do sleep 0.02; done"])
def test_a_disk_that_takes_no_more_stops_no_training(stream, tmp_path, fault):
    flags = {**stream, "model_dir": tmp_path / "model", "export_dir": "$DISK/export"}
    problems = "from tfonline.publish.versions import *; v = Versions('$DISK/export'); print({n: v.problems(n) for n in v.numbers})"
    output = on_a_disk(
        tmp_path,
        "50m",
        f"{command_line(flags)} & until [ -d $DISK/export/1 ] || ! kill -0 $!; do sleep 0.01; done; {fault}; "
        f"wait $!; echo code=$?; "
        f'mount -o remount,rw $DISK; {sys.executable} -c "{problems}"',
    )
    assert "code=0" in output, output
    assert "warning: publishing failed, training goes on: " in output
    assert re.search(r"No space left on device|Read-only file system", output), output
    found = ast.literal_eval(output.splitlines()[-1])
    assert 1 in found
    assert not any(found.values())
    assert rows_of(tmp_path / "model") == 10_000
    assert events_of(tmp_path / "model" / "tensorboard")["train/serving/export_failed"][-1][1] >= 1


def test_two_that_publish_into_one_folder(start, tmp_path):
    rows = tmp_path / "all.tsv"
    rows.write_bytes(b"\n".join(ROWS))
    trainers = [start("one", input_files=rows), start("other", input_files=rows)]
    for name, trainer in zip(("one", "other"), trainers, strict=True):
        trainer.wait_for_exit(0, 200, f"{name} has begun")
        assert rows_of(tmp_path / name) == 20_000
    versions = Versions(tmp_path / "export")
    one, other = (published_by(tmp_path / f"{name}.log") for name in ("one", "other"))
    # Each is overtaken by the other now and then. From then on it keeps its rows, and judges against what comes meanwhile.
    assert min(len(one), len(other)) >= 1
    assert len(one + other) >= 4
    assert one == sorted(one)
    assert sorted(one + other) == versions.numbers == list(range(1, len(one + other) + 1))
    assert [versions.problems(number) for number in versions.numbers] == [[]] * len(versions.numbers)
    assert not list(versions.folder.glob(".*.tmp"))
