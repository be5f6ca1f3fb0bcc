"""The format of a delta, for tfonline and for other programs; and that a reader finds whatever happens to a file."""

import dataclasses
import hashlib
import json

import numpy as np
import pyarrow as pa
import pytest
from delta_helpers import HEADER

from tfonline.deltas.file import Change, Unreadable, read, read_header, write

ROWS = np.array([0, 3, 300, 70_000])
CHANGES = {
    "model/wide/table": Change(np.array([[0.5], [-1.0], [2.0], [1e-9]], np.float32), ROWS, (100_000, 1)),
    "model/embedding/table": Change(np.arange(8, dtype=np.float32).reshape(4, 2), ROWS, (100_000, 2)),
    "model/vocabulary/keys": Change(np.array([[-5, 2**40]]), np.array([9]), (16, 2)),
    "model/none": Change(np.zeros([0, 2], np.float32), np.zeros(0, np.int64), (7, 2)),
    "model/bias": Change(np.array(0.25, np.float32), None, ()),
    "model/tower/kernel": Change(np.eye(3, dtype=np.float32), None, (3, 3)),
}


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "000001-000001.delta", HEADER, CHANGES)
    return tmp_path / "000001-000001.delta"


def test_what_is_written_is_read(path):
    delta = read(path)
    assert delta.header == HEADER
    assert delta.digest == read_header(path)[1]
    assert list(delta.changes) == list(CHANGES)
    for name, change in CHANGES.items():
        found = delta.changes[name]
        assert (found.values.dtype, found.values.tolist()) == (change.values.dtype, change.values.tolist())
        assert found.shape == change.shape
        assert (found.rows is None) == (change.rows is None)
        assert change.rows is None or found.rows.tolist() == change.rows.tolist()
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing is left beside


def test_another_program_reads_it_as_the_document_says(path):
    content = path.read_bytes()
    assert (content[:8], content[8:40]) == (b"tfdelta\n", hashlib.sha256(content[40:]).digest())
    file = pa.ipc.open_file(content[40:])
    about = json.loads(file.schema.metadata[b"tfonline_delta"])
    found = {}
    for i in range(file.num_record_batches):
        tensors = {}
        for row in file.get_batch(i).to_pylist():
            item = np.dtype(row["dtype"]).itemsize
            content = np.frombuffer(row["planes"], np.uint8).reshape(item, -1).T.tobytes()
            tensors[row["name"]] = np.frombuffer(content, row["dtype"]).reshape(row["shape"])
        rows = np.cumsum(tensors.pop("")).tolist() if "" in tensors else None
        found |= {name: (rows, values.tolist()) for name, values in tensors.items()}
    assert (about["format"], about["epoch"], about["number"], about["root_version"]) == (2, 1, 1, 3)
    assert about["variables"] == {name: list(change.shape) for name, change in CHANGES.items()}
    assert found["model/embedding/table"] == ([0, 3, 300, 70_000], [[0, 1], [2, 3], [4, 5], [6, 7]])
    assert found["model/bias"] == (None, 0.25)
    assert found.keys() == CHANGES.keys()


def test_a_large_change_comes_in_parts(tmp_path):
    rows = np.arange(0, 3_000_000, 3)
    values = np.arange(2_000_000, dtype=np.float32).reshape(-1, 2)
    wide = np.arange(3_000_000, dtype=np.float32).reshape(-1, 1)
    changes = {"table": Change(values, rows, (3_000_000, 2)), "wide": Change(wide, None, wide.shape)}
    write(tmp_path / "a.delta", HEADER, changes | {"counts": Change(values[:, :1], rows, (3_000_000, 1))})
    parts = list(read(tmp_path / "a.delta").parts())
    assert max(sum(c.values.nbytes for c in part.values()) for part in parts) <= 2**22
    assert {tuple(part) for part in parts} == {("table", "counts"), ("wide",)}
    found = read(tmp_path / "a.delta").changes
    assert np.array_equal(found["table"].values, values)
    assert np.array_equal(found["counts"].rows, rows)
    assert np.array_equal(found["wide"].rows, np.arange(3_000_000))  # all of it, by numbers
    assert np.array_equal(found["wide"].values, wide)


def test_a_file_that_is_cut_anywhere_is_none(path):
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(Unreadable, match="it is cut"):
            read(path)


def test_a_byte_that_changes_is_found_before_anything_is_made_of_the_content(path):
    content = b"no Arrow at all " * 20
    whole = path.read_bytes()[:8] + hashlib.sha256(content).digest() + content
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        with pytest.raises(Unreadable, match="its digest is another"):
            read(path)


def test_a_newer_format_is_refused_with_both_numbers(path, monkeypatch):
    monkeypatch.setattr("tfonline.deltas.file.FORMAT", 3)
    path.unlink()
    write(path, HEADER, {})
    monkeypatch.undo()
    with pytest.raises(Unreadable, match="its format is 3, this tfonline reads 2"):
        read(path)


def test_each_part_of_the_header_is_in_the_digest(tmp_path):
    changed = {
        "epoch": 2, "number": 2, "from_window": 6, "to_window": 8, "step": 71, "rows": 701, "next": (300, 401), "root_version": 4,
        "root_checksum": "2" * 16, "checksum": "3" * 16, "previous": "x", "newest_row_time": None, "made": 1.0,
    }  # fmt: skip
    assert changed.keys() == {field.name for field in dataclasses.fields(HEADER)}
    headers = [HEADER, *(dataclasses.replace(HEADER, **{name: value}) for name, value in changed.items())]
    assert len({write(tmp_path / f"{i}.delta", header, CHANGES)[0] for i, header in enumerate(headers)}) == 14
    assert write(tmp_path / "none.delta", HEADER, {})[0] != write(tmp_path / "again.delta", HEADER, CHANGES)[0]


def test_whole_numbers_and_repeats_take_little_room(tmp_path):
    rows = np.arange(0, 40_000, 4)
    counts = np.random.default_rng(1).poisson(3, (10_000, 2)).astype(np.float32)
    _, size = write(tmp_path / "counts.delta", HEADER, {"counts": Change(counts, rows, (40_000, 2))})
    assert size < counts.nbytes / 4
