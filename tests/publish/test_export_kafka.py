"""The time of the newest row of a version, asked of a real broker."""

import time

import pytest
from confluent_kafka import Producer
from rows import make_rows

from tfonline.lifecycle import Stop
from tfonline.publish.versions import Versions
from tfonline.stream import broker as admin_side

ROWS = make_rows(400)
BEGAN = 1_700_000_000_000  # ms


@pytest.fixture
def timed(broker, topic):
    """Makes a topic of two partitions; partition 1 has a row a second from BEGAN on, partition 0 half of them, a minute earlier."""
    name = topic([[], []])
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for i, row in enumerate(ROWS[:200]):
        producer.produce(name, row, partition=1, timestamp=BEGAN + i * 1000)
        if i % 2:
            producer.produce(name, row, partition=0, timestamp=BEGAN + i * 1000 - 60_000)
    producer.flush()
    return name


@pytest.fixture
def admin(broker, timed):
    return admin_side.KafkaTopic(broker.bootstrap, timed, "another", {}, 5.0, Stop(), print)


def test_it_is_the_newest_of_what_was_trained_not_of_what_is_there(admin):
    assert admin.newest_row_time([0, 0], [100, 200]) == 1_700_000_199
    assert admin.newest_row_time([0, 0], [100, 11]) == 1_700_000_139
    assert admin.newest_row_time([0, 0], [1, 11]) == 1_700_000_010
    assert admin.newest_row_time([0, 11], [1, 11]) == 1_699_999_941  # nothing of partition 1
    assert admin.newest_row_time([100, 200], [100, 200]) is None


def test_offsets_without_a_record_are_passed_over(broker, topic):
    """A transaction's end takes an offset; what was aborted is not read."""
    name = topic([[]])
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": name})
    producer.init_transactions()
    for i, end in enumerate((producer.commit_transaction, producer.abort_transaction)):
        producer.begin_transaction()
        for row in ROWS[:10]:
            producer.produce(name, row, timestamp=BEGAN + i * 1000)
        producer.flush()
        end()
    admin = admin_side.KafkaTopic(broker.bootstrap, name, "another", {}, 5.0, Stop(), print)
    assert admin.ends() == [22]
    for stop in (11, 15, 22):
        assert admin.newest_row_time([0], [stop]) == 1_700_000_000


def test_a_broker_that_is_away_is_not_waited_for(admin, monkeypatch):
    monkeypatch.setattr(admin_side, "REQUEST_SECS", 0.5)
    monkeypatch.setitem(admin._client._config, "bootstrap.servers", "127.0.0.1:1")
    began = time.monotonic()
    assert admin.newest_row_time([0, 0], [100, 200]) is None
    assert time.monotonic() - began < 3


def test_a_manifest_has_it(start, timed, tmp_path):
    start(
        topic=timed, export_dir=str(tmp_path / "export"), export_every_windows=1, checkpoint_every_steps=1, window_rows=30,
        batch_size=10, gate_rows=100, gate_min_auc=0, gate_calibration=0, gate_max_regression=1,
    )  # fmt: skip
    versions = Versions(tmp_path / "export")
    assert versions.numbers
    for number in versions.numbers:
        manifest = versions.manifest(number)
        of_each = [1_699_999_940 + 2 * manifest["next"][0] - 1, 1_700_000_000 + manifest["next"][1] - 1]
        assert manifest["newest_row_time"] == max(of_each)
