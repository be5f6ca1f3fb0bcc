"""A run that is scraped while it goes on, held against the table of docs/operations.md."""

import pathlib
import re
import socket
import threading
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
from process_helpers import wait_until
from rows import make_rows

from tfonline.cluster.job import Job
from tfonline.config import of_flags
from tfonline.lifecycle import Exit, Stop, UserError
from tfonline.train import run

DOCS = (pathlib.Path(__file__).parents[2] / "docs/operations.md").read_text()
ROWS = make_rows(400)


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def flags(dictionary_dir, tmp_path, port):
    (tmp_path / "rows.tsv").write_bytes(b"\n".join([b"not a row", *ROWS]) + b"\n")
    return {
        "input_files": f"{tmp_path}/rows.tsv", "dictionary_dir": dictionary_dir, "model_dir": f"{tmp_path}/model", "batch_size": 20,
        "embedding_dim": 2, "deep_layers": "4", "window_rows": 100, "window_secs": 0.1, "checkpoint_every_steps": 1,
        "report_secs": 0, "monitor_port": port, "export_dir": f"{tmp_path}/export",
    }  # fmt: skip


def scraped(flags, rows):
    """The metrics of a run when it has learned from so many rows and waits for more; what /readyz and /healthz answered."""
    address, stop, found = f"http://127.0.0.1:{flags['monitor_port']}", Stop(), {}

    def get(path):
        try:
            with urllib.request.urlopen(address + path, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()
        except OSError:
            return 0, ""

    def look():
        try:
            wait_until(lambda: get("/readyz")[0] == 200)
            wait_until(lambda: f"\ntfonline_trainer_model_rows {rows}.0\n" in get("/metrics")[1])
            wait_until(lambda: "\ntfonline_trainer_checkpoints_total 0.0\n" not in get("/metrics")[1])
            found.update(metrics=get("/metrics")[1], ready=get("/readyz"), health=get("/healthz"))
        finally:
            stop.request("the test has seen enough")

    looking = threading.Thread(target=look)
    looking.start()
    run(of_flags(**flags), stop)
    looking.join()
    values = dict(re.findall(r"^(tfonline_trainer_\S+) (\S+)$", found["metrics"], re.MULTILINE))
    return found, {name.removeprefix("tfonline_trainer_"): float(value) for name, value in values.items()}


def test_a_run_tells_what_the_table_says_and_goes_on_telling_when_it_is_resumed(flags, tmp_path):
    found, values = scraped(flags, 400)
    assert found["ready"] == found["health"] == (200, "ok\n")
    told = set(re.findall(r"^# TYPE (tfonline_trainer_\w+) ", found["metrics"], re.MULTILINE))
    assert told == set(re.findall(r"^\| `(tfonline_trainer_\w+)` \| \S", DOCS, re.MULTILINE))
    assert (values["rows_total"], values["model_rows"], values["restarts_total"]) == (400, 400, 0)
    assert values['rejected_rows_total{reason="fields"}'] == 1
    assert values['lag_rows{partition="0"}'] in (0, 1)  # the last row's window may not have ended
    assert values['stage_seconds_total{stage="training"}'] > 0
    assert 0 < values['log_loss{scope="total"}'] < 2
    assert 0 <= values["checkpoint_age_seconds"] < 600
    assert values['exports_total{outcome="failed"}'] == values["publishing_paused"] == values['drift_episodes{of="model"}'] == 0
    assert (values["healthy"], values["ready"]) == (1, 1)
    assert 'tfonline_trainer_build_info{checkpoint_format="4",message_format="tsv",' in found["metrics"]
    with open(f"{tmp_path}/rows.tsv", "ab") as file:
        file.write(b"\n".join(ROWS[:100]) + b"\n")
    _, values = scraped(flags, 500)
    assert (values["rows_total"], values["model_rows"], values["restarts_total"]) == (100, 500, 1)


def test_a_port_that_is_taken_ends_the_run_before_anything_is_made(flags, port, tmp_path):
    with socket.create_server(("127.0.0.1", port)), pytest.raises(UserError, match="cannot be listened at") as e:
        run(of_flags(**flags))
    assert e.value.code == Exit.UNAVAILABLE
    assert not list((tmp_path / "model").glob("ckpt-*"))


@pytest.mark.parametrize(
    ("other", "fits"),
    [({"monitor_port": 9101}, True), ({"monitor_host": "::1"}, True), ({"log_format": "json"}, True), ({"seed": 7}, False)],
)
def test_workers_may_differ_in_how_they_tell_and_in_nothing_that_is_learned(other, fits):
    def compared(flags):
        """What a worker tells the others of its flags."""
        told, job = [], object.__new__(Job)
        job._flags, job.cluster = flags, SimpleNamespace(workers=["a:1"], chief=False)
        job.rounds = SimpleNamespace(sum=lambda numbers: told.extend(numbers) or numbers)
        job.begin()
        return told

    flags = of_flags(monitor_port=9100).resolved()
    assert (compared(flags) == compared({**flags, **other})) == fits
