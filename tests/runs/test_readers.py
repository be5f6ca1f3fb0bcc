"""A model may go on with another reader, and a journal is replayed by either: weights, counters and metrics equal to the bit."""

import numpy as np
import pytest
from checkpoint_helpers import saved
from rows import make_rows

from tfonline.lifecycle import UserError
from tfonline.stream.readers import choose

ROWS = make_rows(400)


def model(folder):
    """Each tensor and each number of the newest checkpoint, but for the names of its own folder."""
    tensors, state = saved(folder)
    return {name: np.asarray(tensor).tobytes() for name, tensor in tensors.items()}, {**state, "contract": None}


def test_a_model_goes_on_with_the_other_reader_and_a_journal_is_replayed_by_it(topic, start, produce, tmp_path):
    name = topic([ROWS[:150], ROWS[150:200]])
    first, second, again = (str(tmp_path / folder) for folder in ("first", "second", "again"))
    of_window = {"topic": name, "window_rows": 90}
    start(**of_window, model_dir=first, reader="tfio")
    start(**of_window, model_dir=second, reader="consumer")
    assert model(first) == model(second)
    produce(name, ROWS[200:300], 1)
    start(**of_window, model_dir=first, reader="consumer")
    start(**of_window, model_dir=second, reader="tfio")
    assert model(first) == model(second)
    for reader in ("tfio", "consumer"):
        replay = {"replay_journal": f"{first}/windows.jsonl", "stop_at": "never", "reader": reader, "model_dir": again + reader}
        assert start(topic=name, **replay)["rows"] == 300
    assert model(again + "tfio") == model(again + "consumer")


def test_auto_says_why_it_takes_the_consumer(topic, start, monkeypatch, capfd):
    monkeypatch.setattr(choose, "version", lambda package: None)
    assert start(topic=topic([ROWS[:50], ROWS[50:60]]))["rows"] == 60
    assert "reader: consumer, for tensorflow-io is not installed\n" in capfd.readouterr().out
    with pytest.raises(UserError, match=r"tensorflow-io is not installed\. Use --reader=consumer, or auto"):
        start(topic=topic([[]]), reader="tfio")


def test_a_tombstone_is_refused_by_its_name(topic, start, produce, tmp_path):
    name = topic([ROWS[:20]])
    produce(name, [None, b"", ROWS[20]])
    summary = start(topic=name, reader="consumer", max_rejected_ratio=1.0)
    assert (summary["rows"], summary["rejected_by_reason"]) == (21, {"empty": 1, "tombstone": 1})
