"""The window journal: what a line looks like, what a crash may leave behind, and which parts rotation keeps."""

import dataclasses
import errno
import json
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfonline.lifecycle import Exit, UserError
from tfonline.stream.journal import Journal, read_journal
from tfonline.stream.window import Window

NOW = "2024-05-01T00:00:00.000+00:00"


def window(number: int) -> Window:
    return Window(number, (10 * number, 0), (10 * number + 10, 0), "rows")


def journal_in(folder, max_bytes: int = 10**6) -> Journal:
    return Journal(folder, now=lambda: NOW, max_bytes=max_bytes)


def names(folder) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def journal(tmp_path):
    journal = journal_in(tmp_path)
    yield journal
    journal.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "windows.jsonl"


def test_a_window_is_this_line(journal, path):
    journal.append(Window(3, (5, 7), (9, 7), "secs"))
    assert path.read_bytes() == (
        b'{"number":3,"start":[5,7],"stop":[9,7],"trigger":"secs","rows":4,"time":"2024-05-01T00:00:00.000+00:00"}\n'
    )


def test_its_file_and_each_new_part_have_their_names_on_disk(tmp_path, monkeypatch):
    synced, sync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.path.realpath(f"/proc/self/fd/{fd}")) or sync(fd))
    journal = journal_in(tmp_path, max_bytes=1)
    assert synced == [str(tmp_path)]
    journal.append(window(0))
    synced.clear()
    journal.rotate(0)
    assert synced == [str(tmp_path)]
    journal.close()


def test_a_line_is_on_disk_before_append_returns(journal, path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append((os.fstat(fd).st_ino, path.read_bytes().count(b"\n"))))
    journal.append(window(0))
    journal.append(window(1))
    assert synced == [(path.stat().st_ino, 1), (path.stat().st_ino, 2)]


def test_the_time_is_utc_with_milliseconds(tmp_path, path):
    journal = Journal(tmp_path)
    journal.append(window(0))
    journal.close()
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\d\+00:00", json.loads(path.read_text())["time"])


def test_windows_are_read_back_as_they_were(journal, path):
    windows = [Window(0, (0, 3), (0, 500), "rows"), Window(1, (0, 500), (1, 500), "skip"), Window(2, (1, 500), (2, 501), "end")]
    for w in windows:
        journal.append(w)
    assert read_journal(path) == windows
    assert journal.since(1) == windows[1:]
    assert journal.since(3) == []


OFFSETS = st.integers(0, 2**63 - 1)
RANGES = st.tuples(OFFSETS, OFFSETS).map(sorted)


@settings(max_examples=25)  # each syncs to disk
@given(
    st.lists(
        st.tuples(st.integers(0, 10**15), st.lists(RANGES, min_size=1), st.sampled_from(["rows", "skip"])),
        max_size=5,
        unique_by=lambda line: line[0],
    ).map(sorted)
)
def test_any_windows_are_read_back_as_they_were(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp("journal")
    windows = [Window(n, *map(tuple, zip(*ranges, strict=True)), trigger) for n, ranges, trigger in lines]
    journal = journal_in(folder)
    for w in windows:
        journal.append(w)
    journal.close()
    assert read_journal(folder / "windows.jsonl") == windows


def test_a_line_takes_the_place_of_those_before_it_from_its_number_on(journal, path):
    """What no saved model has learned from can be planned anew."""
    first, again = [window(n) for n in range(5)], [dataclasses.replace(window(n), trigger="passed") for n in (2, 3)]
    for w in first + again:
        journal.append(w)
    assert read_journal(path) == [*first[:2], *again]
    assert journal.since(1) == [first[1], *again]
    assert journal.since(3) == [again[1]]
    assert path.read_bytes().count(b"\n") == 7  # nothing is taken away


def test_lines_take_the_place_of_those_in_older_parts(tmp_path, path):
    journal = journal_in(tmp_path, max_bytes=1)
    for number in (0, 1, 2):
        journal.append(window(number))
    journal.rotate(0)
    anew = dataclasses.replace(window(1), trigger="passed")
    journal.append(anew)
    journal.rotate(0)
    journal.append(window(2))
    assert read_journal(path) == [window(0), anew, window(2)]
    assert journal.since(0) == [window(0), anew, window(2)]
    assert journal.since(1) == [anew, window(2)]
    journal.close()


def test_a_line_that_does_not_fit_on_the_disk_is_taken_back(journal, path, monkeypatch):
    journal.append(window(0))
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match=r"No space left on device: .*windows\.jsonl"):
        journal.append(window(1))
    monkeypatch.undo()
    journal.append(dataclasses.replace(window(1), trigger="secs"))
    assert [w.trigger for w in read_journal(path)] == ["rows", "secs"]
    assert path.read_bytes().count(b"\n") == 2


def test_a_new_run_appends_to_the_journal_of_the_last(tmp_path, path):
    for number in (0, 1):
        journal = journal_in(tmp_path)
        journal.append(window(number))
        journal.close()
    assert read_journal(path) == [window(0), window(1)]


@pytest.mark.parametrize("torn", [b"{", b'{"number":2,"start":[20', b'{"number":2,"start":[20,0],"stop":[30,0],"trigger":"rows"}'])
def test_a_torn_last_line_is_cut_and_replaced(tmp_path, path, torn):
    journal = journal_in(tmp_path)
    journal.append(window(0))
    journal.append(window(1))
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert read_journal(path) == [window(0), window(1)]
    assert path.read_bytes() == whole + torn  # reading alone changes nothing

    journal = journal_in(tmp_path)
    assert path.read_bytes() == whole
    journal.append(window(2))
    journal.close()
    assert read_journal(path) == [window(0), window(1), window(2)]


def test_a_journal_of_nothing_but_a_torn_line_is_empty(tmp_path, path):
    path.write_bytes(b'{"number":0,"sta')
    journal = journal_in(tmp_path)
    journal.close()
    assert path.read_bytes() == b""
    assert read_journal(path) == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"not json",
        b"",
        b"\xff\xfe",
        b"7",
        b"[1, 2]",
        b'{"number":1}',
        b'{"number":1,"start":10,"stop":[20,0],"trigger":"rows"}',
        b'{"number":1,"start":[-1,0],"stop":[20,0],"trigger":"rows"}',
        b'{"number":-1,"start":[10,0],"stop":[20,0],"trigger":"rows"}',
        b'{"number":1,"start":[10,0],"stop":[9223372036854775808,0],"trigger":"rows"}',
    ],
)
def test_a_line_that_is_no_window_is_named(journal, path, garbage):
    journal.append(window(0))
    with path.open("ab") as f:
        f.write(garbage + b"\n")
    journal.append(window(1))
    with pytest.raises(UserError) as e:
        read_journal(path)
    assert e.value.code == Exit.NO_INPUT == 66
    assert str(e.value).startswith(f"{path}:2 is not a window (")
    assert '{"number":0,"start":[0,0],"stop":[500,500],"trigger":"rows"}' in str(e.value)


def test_a_missing_journal_is_missing_input(path):
    with pytest.raises(UserError) as e:
        read_journal(path)
    assert e.value.code == Exit.NO_INPUT
    assert str(e.value) == f"the journal {path} is missing. Expected the windows.jsonl of a model folder."


# Rotation


def test_a_file_is_rotated_when_it_has_its_size(tmp_path, path):
    journal = journal_in(tmp_path)
    journal.append(window(0))
    journal.append(window(1))
    journal.close()
    size = path.stat().st_size
    for max_bytes, found in ((size + 1, ["windows.jsonl"]), (size, ["windows-000000000000.jsonl", "windows.jsonl"])):
        journal = journal_in(tmp_path, max_bytes)
        journal.rotate(0)
        journal.close()
        assert names(tmp_path) == found
    assert path.read_bytes() == b""
    assert read_journal(path) == [window(0), window(1)]


def rotated(folder, windows: int, oldest_needed: int) -> Journal:
    """A journal with one window a part, rotated after each."""
    journal = journal_in(folder, max_bytes=1)
    for number in range(windows):
        journal.append(window(number))
        journal.rotate(min(number, oldest_needed))
    return journal


def test_all_parts_that_a_checkpoint_needs_are_kept_and_read(tmp_path, path):
    journal = rotated(tmp_path, 30, oldest_needed=0)
    assert names(tmp_path) == [f"windows-0000000000{n:02d}.jsonl" for n in range(30)] + ["windows.jsonl"]
    assert journal.since(0) == read_journal(path) == [window(n) for n in range(30)]
    assert journal.since(28) == [window(28), window(29)]
    journal.close()


def test_the_window_that_the_oldest_checkpoint_needs_is_the_first_that_is_kept(tmp_path, path):
    journal = rotated(tmp_path, 30, oldest_needed=12)
    assert journal.since(0) == [window(n) for n in range(12, 30)]
    journal.close()


def test_the_newest_ten_parts_are_kept_whatever_is_needed(tmp_path, path):
    journal = rotated(tmp_path, 30, oldest_needed=10**6)
    journal.append(window(30))
    assert journal.since(0) == [window(n) for n in range(20, 31)]
    journal.close()


def test_a_part_of_several_windows_is_kept_for_its_last_one(tmp_path):
    journal = journal_in(tmp_path, max_bytes=1)
    for number in range(0, 36, 3):
        for n in range(number, number + 3):
            journal.append(window(n))
        journal.rotate(min(number, 5))
    assert journal.since(0) == [window(n) for n in range(3, 36)]  # [0, 3) went, [3, 6) holds 5
    journal.close()


def test_a_run_goes_on_after_a_rotation(tmp_path, path):
    rotated(tmp_path, 3, oldest_needed=0).close()
    journal = journal_in(tmp_path)
    journal.append(window(3))
    assert journal.since(2) == [window(2), window(3)]
    journal.close()


def test_a_copy_under_another_name_stands_alone(tmp_path):
    rotated(tmp_path, 3, oldest_needed=0).close()
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes((tmp_path / "windows-000000000001.jsonl").read_bytes())
    assert read_journal(copy) == [window(1)]


@pytest.mark.parametrize(
    "line",
    [
        b'{"number":"0","start":[0],"stop":[1],"trigger":"rows"}',
        b'{"number":0,"start":[0,0],"stop":[1],"trigger":"rows"}',
        b'{"number":0,"start":[2],"stop":[1],"trigger":"rows"}',
        b'{"number":0,"start":[0.5],"stop":[1],"trigger":"rows"}',
    ],
)
def test_a_line_that_only_looks_like_a_window_is_refused(tmp_path, line):
    (tmp_path / "windows.jsonl").write_bytes(line + b"\n")
    with pytest.raises(UserError, match=r"windows.jsonl:1 is not a window") as e:
        read_journal(tmp_path / "windows.jsonl")
    assert e.value.code == 66
