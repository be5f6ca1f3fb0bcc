"""Who is blamed when nothing moves in the chaos: decided from samples, without Kafka and without a clock."""

import dataclasses
import json
import subprocess
import sys

import pytest
import synthetic

from benchmarks.chaos.patience import Patience, Sample, limit_secs
from benchmarks.chaos.stream import Feeder
from benchmarks.chaos.trainer import Failed, HarnessFailed, Trainer
from benchmarks.chaos.watch import Watch, begin_of

START = Sample(secs=1000.0, ends=(500, 500), trainer=("reading", 3, 40), next=(300, 300), fed=1000, acknowledged=1000)


def faults(*changes, due_rows=1):
    """Whom each sample blames: START, then START with each of the changes."""
    patience = Patience(due_rows)
    samples = [START, *(dataclasses.replace(START, **change) for change in changes)]
    return [fault.who if (fault := patience.look(sample)) else "" for sample in samples]


def test_a_trainer_that_has_rows_and_does_not_move_is_blamed_after_a_minute_and_a_half():
    assert faults({"secs": 1090.0}, {"secs": 1090.1}) == ["", "", "trainer"]
    # It moved once, after 50 s.
    moved = {"trainer": ("training", 3, 40)}
    assert faults({"secs": 1050.0, **moved}, {"secs": 1140.0, **moved}, {"secs": 1140.1, **moved}) == ["", "", "", "trainer"]


def test_a_trainer_without_rows_for_a_window_is_not_blamed():
    none = {"ends": (300, 300)}
    assert faults({"secs": 1050.0, **none}, {"secs": 1091.0, **none}) == ["", "", ""]
    # Its windows close at 500 rows, and there are 400.
    assert faults({"secs": 1091.0}, due_rows=401) == ["", ""]
    assert faults({"secs": 1091.0}, due_rows=400) == ["", "trainer"]
    # But one that does not come back from saving is, whatever there is to read.
    saving = {"trainer": ("saving", 3, 40), **none}
    assert faults({"secs": 1001.0, **saving}, {"secs": 1091.1, **saving}) == ["", "", "trainer"]


def test_a_feeder_whose_rows_do_not_arrive_is_blamed_and_not_the_trainer():
    stuck = {"fed": 90_000, "acknowledged": 1000, "ends": (300, 300)}
    assert faults({"secs": 1001.0, **stuck}, {"secs": 1090.0, **stuck}, {"secs": 1090.1, **stuck}) == ["", "", "", "feeder"]
    # Some arrive.
    assert faults({"secs": 1001.0, **stuck}, {"secs": 1090.1, **stuck, "acknowledged": 1001}) == ["", "", ""]


def test_a_feeder_that_has_ended_is_blamed_at_once():
    assert faults({"secs": 1000.5, "problem": "KafkaException(_FATAL)"}) == ["", "feeder"]


def test_a_feeder_that_is_too_slow_for_a_window_is_blamed_in_the_end():
    # 400 rows lie before the trainer: 180 s and 4 more. One row a second comes.
    slow = [{"secs": 1000.0 + n, "fed": 1000 + n, "acknowledged": 1000 + n} for n in (80, 160, 184, 185)]
    assert faults(*slow, due_rows=2000) == ["", "", "", "", "feeder"]


def test_a_broker_that_does_not_answer_is_blamed_and_nobody_who_waits_for_it():
    away = {"ends": (), "fed": 50_000}
    assert faults({"secs": 1090.0, **away}, {"secs": 1090.1, **away}) == ["", "", "broker"]
    # It is back: from then on the others have time again.
    back = {"ends": (500, 500), "fed": 50_000}
    assert faults({"secs": 1080.0, **away}, {"secs": 1081.0, **back}, {"secs": 1169.0, **back}) == ["", "", "", ""]
    assert faults({"secs": 1080.0, **away}, {"secs": 1081.0, **back}, {"secs": 1171.0, **back})[-1] == "feeder"


def test_patience_grows_with_what_lies_before_the_trainer():
    assert limit_secs(0) == 180.0
    assert limit_secs(60_000) == 780.0
    # 400 rows: 184 s. A trainer that makes steps all the time, and does not get there.
    steps = [{"secs": 1000.0 + n, "trainer": ("training", 3, n)} for n in (40, 120, 184, 185)]
    assert faults(*steps) == ["", "", "", "", "trainer"]
    # The seconds without the broker do not count.
    away = [{"secs": 1000.0 + n, "trainer": ("training", 3, n), "ends": ()} for n in (10, 30)]
    assert faults(*away, *steps, {"secs": 1215.0, "trainer": ("training", 3, 215)}) == [""] * 7 + ["trainer"]
    # A window by time alone that holds a backlog of 60,000 rows: 780 s.
    begin = dataclasses.replace(START, ends=(30_300, 30_300))
    patience = Patience()
    blamed = [patience.look(dataclasses.replace(begin, secs=1000.0 + n, trainer=("training", 3, n))) for n in range(0, 781, 60)]
    assert blamed == [None] * 14
    assert patience.look(dataclasses.replace(begin, secs=1781.0, trainer=("training", 3, 9999))).who == "trainer"


def test_where_nothing_is_fed_any_more_the_trainer_is_to_come_to_an_end():
    end = {"fed": None, "ends": (300, 300)}
    assert faults({"secs": 1001.0, **end}, {"secs": 1090.5, **end}) == ["", "", "trainer"]


def test_a_fault_says_where_all_three_are():
    patience = Patience()
    patience.look(START)
    assert patience.look(dataclasses.replace(START, secs=1100.0)).text == (
        "the trainer has stood still for 100 s. feeder: 1,000 rows handed over, 1,000 settled; broker: ends at [500, 500]; "
        "trainer: reading in window 3, step 40, which begins at [300, 300]"
    )


def test_rows_of_a_partition_that_the_journal_does_not_know_of_are_left():
    assert dataclasses.replace(START, ends=(500, 500, 70)).left == 470
    assert dataclasses.replace(START, next=()).left == 1000
    assert dataclasses.replace(START, ends=()).left == 0


def test_where_a_window_begins_is_read_from_the_journal(tmp_path):
    assert begin_of(tmp_path, 0) == ()
    lines = [{"number": n, "start": [n * 10, n * 20], "stop": [n * 10 + 10, n * 20 + 20]} for n in range(5)]
    (tmp_path / "windows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"number": 5')
    assert begin_of(tmp_path, 3) == (30, 60)
    assert begin_of(tmp_path, 9) == (40, 80)


# The feeder and the trainer's process


def test_what_ends_the_feeder_is_its_problem_and_not_silence(monkeypatch):
    def no_rows(*_):
        raise RuntimeError("no rows")
        yield

    monkeypatch.setattr(synthetic, "rows", no_rows)
    feeder = Feeder("localhost:1", "nowhere", 1, 10_000, seed=1)
    feeder._thread.join(30)
    assert feeder.state() == {"fed": 0, "acknowledged": 0, "problem": "RuntimeError('no rows')"}
    with pytest.raises(HarnessFailed, match=r"the feeder has ended: RuntimeError\('no rows'\)"):
        feeder.stop()


@pytest.fixture
def sleeper(tmp_path):
    """A process in place of the trainer, which writes no status and does not end."""
    trainer = Trainer([sys.executable, "-c", "import time; time.sleep(600)"], {"model_dir": tmp_path}, tmp_path / "log")
    yield trainer
    trainer.kill()


def test_the_harness_own_fault_ends_a_wait_for_the_trainer(sleeper):
    def check():
        raise HarnessFailed("the feeder has stood still")

    with pytest.raises(HarnessFailed, match="the feeder has stood still"):
        sleeper.wait_until(lambda *_: False, 60, "it started", check)
    with pytest.raises(HarnessFailed, match="the feeder has stood still"):
        sleeper.wait_for_exit(0, 60, "the rest", check)


def test_an_end_with_another_exit_code_is_the_trainers_fault(tmp_path):
    trainer = Trainer([sys.executable, "-c", "raise SystemExit(3)"], {"model_dir": tmp_path}, tmp_path / "log")
    with pytest.raises(Failed, match="exit code 3 instead of 0 after the rest"):
        trainer.wait_for_exit(0, 60, "the rest")


def test_a_watch_sees_the_broker_and_names_the_trainer(broker, topic, sleeper, tmp_path, monkeypatch):
    name = topic([[b"a", b"b"], [b"c"]])
    monkeypatch.setattr("benchmarks.chaos.watch._EVERY_SECS", 0.01)
    monkeypatch.setattr("benchmarks.chaos.patience.PATIENCE_SECS", 0.1)
    with Watch(broker.bootstrap, name, sleeper, tmp_path, None) as watch:
        seen = watch.sample()
        assert (seen.ends, seen.trainer, seen.next, seen.left, seen.fed) == ((2, 1), ("starting", 0, 0), (), 3, None)
        with pytest.raises(
            Failed, match=r"the trainer has stood still for .* broker: ends at \[2, 1\]; trainer: starting in window 0"
        ):
            watch.wait_until(lambda *_: False, "it started")


def test_the_command_says_that_a_fault_of_the_harness_proves_nothing(tmp_path):
    command = [sys.executable, "-m", "benchmarks.chaos", "--kills=0", "--broker_faults=0", f"--folder={tmp_path}"]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, stdout=subprocess.PIPE, text=True, check=False)  # no Java there
    assert done.returncode == 75
    assert "chaos: NOTHING PROVEN, seed " in done.stdout
    assert "not the trainer, " in done.stdout
    assert done.stdout.splitlines()[-1].startswith("chaos: the same faults again: make chaos CHAOS='--seed=")
