"""What --monitor_port answers: metrics, whether the trainer lives, whether it reads; without a run."""

import http.client
import re
import socket
import types

import numpy as np
import pytest
from config_helpers import refusal

from tfonline.actions.tally import Tally
from tfonline.events import Rows, Saved, Saving, Seen, Tick, WindowEnd
from tfonline.formats.reasons import REASONS
from tfonline.lifecycle import Exit, Liveness, Stop, UserError
from tfonline.monitor.health import Health
from tfonline.monitor.metrics import Facts, Metrics
from tfonline.monitor.server import Monitor
from tfonline.publish.exports import Exports
from tfonline.report.status import Status
from tfonline.report.writers import Latest
from tfonline.state import Position
from tfonline.stream.window import Window


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def seen(valid):
    valid = np.array(valid)
    return Seen(valid, np.zeros(valid.shape), np.zeros(valid.shape), np.arange(len(valid)), {}, 0.0)


def samples(text):
    """The values by name and labels, as they are written."""
    return {name: float(value) for name, value in re.findall(r"^(tfonline_trainer_\S+) (\S+)$", text.decode(), re.MULTILINE)}


def test_a_tally_is_of_what_has_happened():
    clock = Clock()
    tally = Tally(saved_at=900.0, clock=clock)
    assert (tally.reading, tally.saved_at) == (False, 900.0)
    refused = [0] * len(REASONS)
    refused[REASONS.index("label")] = 3
    tally(Rows(None, None, refused), seen([[True, True, False], [True, False, False]]))
    tally(Rows(None, None, refused, left_out=7), None)  # refused rows alone are no step
    tally(WindowEnd(Window(0, (0, 5), (4, 6), "rows"), left_out=2), None)
    tally(WindowEnd(Window(1, (4, 6), (14, 16), "lost")), None)
    tally(Saving(()), None)
    clock.now += 2.5
    tally(Saved("ckpt-2", (14, 16)), None)
    assert tally.reading
    assert (tally.rows, tally.steps, tally.checkpoints, tally.checkpoint_secs, tally.saved_at) == (3, 2, 1, 2.5, 1000.0)
    assert {reason: n for reason, n in tally.rejected.items() if n} == {"label": 6}
    assert tally.windows == {"rows": 1, "secs": 0, "end": 0, "skip": 0, "lost": 1, "passed": 0}
    assert tally.unread == {"skip": 0, "lost": 20, "passed": 0, "negatives": 9}


def test_the_time_of_each_stage_adds_up_to_all_of_it():
    clock = Clock()
    status = Status(None, clock)
    for phase, secs in (("starting", 5), ("reading", 3), ("training", 2), ("telling", 1), ("reading", 4)):
        status.enter(phase)
        clock.now += secs
    found = samples(Metrics(status, clock).text())
    stages = {name: value for name, value in found.items() if "stage_seconds" in name and value}
    head = "tfonline_trainer_stage_seconds_total"
    of = {f'{head}{{stage="{stage}"}}': secs for stage, secs in {"starting": 5, "reading": 7, "training": 2, "telling": 1}.items()}
    assert stages == of  # the last one goes on, and counts up to now


def test_metrics_are_of_the_facts():
    clock, exports, latest = Clock(), Exports(iter([0.0, 10.0, 12.0]).__next__), Latest()
    exports.begin()
    exports.end()
    exports.count("refused")
    exports.count("failed", timed=False)
    latest.write(7, {"running/ne": 0.75, "served/auc": 0.7, "values/missing_I1": 0.5, "vocabulary/admitted": 12.0})
    latest.write(8, {"window_buy/auc": 0.8})
    latest.write(8, {"running/ne": 0.7, "drift/psi_C9": 4.05, "drift/model_more_clicks": 1.5, "drift/model_more_clicks_buy": 2.5})
    exports.paused = True
    metrics = Metrics(Status(None), wall_clock=clock)
    metrics.facts = Facts(
        build={"version": "1"}, tally=Tally(saved_at=940.0), ends=lambda: [7, 9, 3],
        position=Position(next=[5, 9], start=[0, 0], rows=14, step=2, window=1),
        row_times=lambda: {"lag_secs": 1.5, "newest_row_age_secs": 4.0}, reported=lambda: latest.scalars,
        exports=exports, newest=lambda: (3, 700.0), restarts=2, damaged=1,
        drift=lambda: {"column": 2, "model": 0, "model_buy": 1},
        deltas=types.SimpleNamespace(counts={"made": 3, "held": 1, "failed": 0}, bytes=4096, secs=1.5, stall_secs=0.25),
    )  # fmt: skip
    found = samples(metrics.text())
    expected = {
        'build_info{version="1"}': 1, 'lag_rows{partition="0"}': 2, 'lag_rows{partition="1"}': 0, "lag_seconds": 1.5,
        "newest_row_age_seconds": 4, "model_rows": 14, "model_steps": 2, "model_windows": 1, "checkpoint_age_seconds": 60,
        "damaged_checkpoints": 1, "restarts_total": 2, "published_version": 3, "published_version_age_seconds": 300,
        'exports_total{outcome="published"}': 0, 'exports_total{outcome="refused"}': 1, 'exports_total{outcome="failed"}': 1,
        'export_seconds_total{outcome="refused"}': 2, 'export_seconds_total{outcome="failed"}': 0,
        'normalised_entropy{scope="running"}': 0.7, 'auc{scope="served"}': 0.7, 'missing_values_ratio{column="I1"}': 0.5,
        "vocabulary_admitted_values": 12, "publishing_paused": 1, 'drift_psi{column="C9"}': 4.05,
        'deltas_total{outcome="made"}': 3, 'deltas_total{outcome="held"}': 1, "delta_bytes_total": 4096,
        "delta_seconds_total": 1.5, "delta_stall_seconds_total": 0.25,
        'drift_chart{chart="more_clicks"}': 1.5, 'drift_episodes{of="column"}': 2, 'drift_episodes{of="model"}': 0,
        'auc{scope="window_buy"}': 0.8, 'drift_chart{chart="more_clicks_buy"}': 2.5, 'drift_episodes{of="model_buy"}': 1,
    }  # fmt: skip
    expected = {f"tfonline_trainer_{name}": value for name, value in expected.items()}
    assert {name: found.get(name) for name in expected} == expected
    assert 'tfonline_trainer_lag_rows{partition="2"}' not in found  # no window has seen that partition


def test_what_is_not_known_has_a_name_and_no_value():
    text = Metrics(Status(None)).text()
    assert b"# TYPE tfonline_trainer_auc gauge" in text
    known = {name.partition("{")[0] for name in samples(text)}
    assert "tfonline_trainer_rows_total" in known
    unknown = {"auc", "lag_seconds", "lag_rows", "checkpoint_age_seconds", "published_version", "build_info"}
    unknown |= {"ready", "drift_episodes", "damaged_checkpoints"}
    # Of a counter, 0 at each start is a reset: increase() would count all restarts again.
    unknown |= {"restarts_total"}
    assert known & {f"tfonline_trainer_{name}" for name in unknown} == set()


@pytest.fixture
def health():
    clock = Clock()
    status, stop = Status(None, clock), Stop()
    health = Health(status, stop, clock)
    health.liveness, health.tally = Liveness(30.0, lambda secs: None, clock), Tally()
    health.clock, health.status, health.stop = clock, status, stop
    return health


def test_a_trainer_that_waits_lives_until_the_rows_are_overdue(health):
    health.status.enter("reading")
    with health.liveness.waiting():
        health.clock.now += 29
        assert health.hangs() == ""
        health.clock.now += 2
        assert health.hangs() == "the next rows have not come for 31 s: the broker is away, or a read hangs"
        assert health.not_ready() == health.hangs()
    assert health.hangs() == ""


def test_a_phase_without_end_is_no_life(health):
    health.status.enter("saving")
    health.clock.now += 1799
    assert health.hangs() == ""
    health.clock.now += 2
    assert health.hangs() == "saving has gone on for 1801 s"
    health.status.enter("reading")
    assert health.hangs() == ""


def test_ready_is_who_reads(health):
    health.tally, tally = None, health.tally
    assert health.not_ready() == "starting: no window has been read yet"
    health.tally = tally
    assert health.not_ready() == "starting: no window has been read yet"
    tally(Tick(), None)  # an idle stream
    assert health.not_ready() == ""
    health.stop.request("SIGTERM")
    assert health.not_ready() == "stopped by SIGTERM"
    assert health.hangs() == ""


@pytest.fixture
def monitor():
    monitor = Monitor("127.0.0.1", 0, Status(None), Stop())
    monitor.port = monitor._server.server_address[1]
    yield monitor
    monitor.close()


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    found = answer.status, answer.headers["Content-Type"], answer.read()
    connection.close()
    return found


def test_it_answers_http(monitor):
    code, kind, text = get(monitor.port, "/metrics?")
    assert (code, kind.partition(";")[0]) == (200, "text/plain")
    assert b"\ntfonline_trainer_rows_total 0.0\n" in text
    assert b"\nprocess_cpu_seconds_total " in text
    assert b"\ntfonline_trainer_healthy 1.0\n" in text
    assert b"\ntfonline_trainer_ready 0.0\n" in text
    assert get(monitor.port, "/healthz")[::2] == (200, b"ok\n")
    assert get(monitor.port, "/readyz")[::2] == (503, b"starting: no window has been read yet\n")
    assert get(monitor.port, "/")[0] == 404


def test_who_says_nothing_keeps_nobody_waiting_and_too_many_are_closed(monitor):
    silent = [socket.create_connection(("127.0.0.1", monitor.port)) for _ in range(15)]
    assert get(monitor.port, "/healthz")[0] == 200
    silent += [socket.create_connection(("127.0.0.1", monitor.port)) for _ in range(2)]
    silent[-1].settimeout(60)
    assert silent[-1].recv(1) == b""
    for connection in silent:
        connection.close()


def test_a_port_that_is_taken_is_refused(monitor):
    with pytest.raises(UserError, match=r"--monitor_port=\d+ cannot be listened at \(Address already in use\)") as e:
        Monitor("127.0.0.1", monitor.port, Status(None), Stop())
    assert e.value.code == Exit.UNAVAILABLE


def test_wrong_flags_are_refused():
    assert refusal("--monitor_port=70000") == ("--monitor_port=70000 is too large. Expected at most 65535.", Exit.FLAGS)
    assert refusal("--monitor_host=")[0] == "--monitor_host is empty. Give an address, such as 127.0.0.1."
