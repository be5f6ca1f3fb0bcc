"""The list of files: who decides the order, and what a checkpoint or journal without names means."""

import dataclasses
import gzip

import pytest

from tfonline.keep.checkpoint_contents import Contents
from tfonline.lifecycle import UserError
from tfonline.state import Position
from tfonline.stream.file_source import FileSource, InputFile, open_files
from tfonline.stream.journal import Journal, files_in_journal
from tfonline.stream.window import Window

# printf '1\n2\n' | sha256sum
HEAD = "a6e2b7a040683432de03a18fd8a1939a2fdf82585b364bfc874bdd4095c4cae1"


@pytest.fixture
def folder(tmp_path):
    """day_8, day_9 and day_10, of two rows each."""
    for number in (8, 9, 10):
        (tmp_path / f"day_{number}").write_bytes(b"%d\n2\n" % number)
    return tmp_path


def opened(folder, saved=None, replay_journal="", say=lambda _: None):
    return open_files(f"{folder}/day_*", str(folder), saved, replay_journal, say)


def names(paths):
    return [path.rpartition("/")[2] for path in paths]


def a_checkpoint(folder, next_offsets, files=()):
    """Without files: as it was before a checkpoint named them."""
    position = Position(next=next_offsets, start=[0] * len(next_offsets), files_read=list(files))
    return Contents(1, {"topic": f"{folder}/day_*"}, {"position": (1, position.get_state())})


def test_what_is_known_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"1\n2\n")
    (tmp_path / "b").write_bytes(b"1\n2\n" + b"3" * 70_000)
    (tmp_path / "c.gz").write_bytes(gzip.compress(b"1\n\n", mtime=0))
    a, b, c = FileSource(f"{tmp_path}/*").files
    assert a == InputFile(f"{tmp_path}/a", 4, 2, True, HEAD)
    assert (b.bytes, b.rows, b.ends_line) == (70_004, 3, False)
    assert (c.bytes, c.rows, c.ends_line) == ((tmp_path / "c.gz").stat().st_size, 2, True)


def test_a_checkpoint_without_names_is_taken_in_the_order_of_letters_and_that_is_said(folder):
    said = []
    source = opened(folder, a_checkpoint(folder, [1, 2, 0]), say=said.append)
    assert names(source.paths) == ["day_10", "day_8", "day_9"]
    assert said == [
        "the checkpoint does not name the files that its offsets are of: they are taken for "
        f"{folder}/day_10, {folder}/day_8, {folder}/day_9, in this order"
    ]


def test_a_checkpoint_without_names_and_with_fewer_offsets_than_files_is_not_guessed(folder):
    with pytest.raises(UserError, match="the checkpoint has offsets of 2 files but not their names") as e:
        opened(folder, a_checkpoint(folder, [1, 2]))
    assert e.value.code == 78
    assert "means 3 now: " in str(e.value)


def test_a_journal_without_names_is_replayed_in_the_order_of_letters_and_that_is_said(folder):
    (folder / "model").mkdir()
    journal, said = Journal(folder / "model"), []
    journal.append(Window(0, (0, 0, 0), (2, 0, 0), "rows"))
    journal.close()
    path = str(folder / "model" / "windows.jsonl")
    assert names(opened(folder, replay_journal=path, say=said.append).paths) == ["day_10", "day_8", "day_9"]
    assert said[0].startswith(f"{path} does not name the files")


def test_a_journal_of_other_files_contradicts_the_checkpoint(folder):
    files = [dataclasses.asdict(file) for file in opened(folder).files]
    journal = Journal(folder, files=files[1:])
    journal.append(Window(0, (0, 0), (2, 0), "rows"))
    journal.close()
    saved = a_checkpoint(folder, [2, 0], files[:2])
    with pytest.raises(UserError, match=r"lists other files than the checkpoint: .*day_9, .*day_10 against .*day_8, .*day_9") as e:
        opened(folder, saved)
    assert e.value.code == 78


def test_a_file_of_which_no_row_was_trained_may_be_another_one(folder):
    files = [dataclasses.asdict(file) for file in opened(folder).files]
    (folder / "day_9").write_bytes(b"others\n")
    saved = a_checkpoint(folder, [2, 0, 2], files)
    assert opened(folder, saved).ends() == [2, 1, 2]


def test_a_journal_names_its_files_at_each_start_and_in_each_part(folder):
    files = [dataclasses.asdict(file) for file in opened(folder).files]
    path = folder / "windows.jsonl"
    assert files_in_journal(path) == []
    for number, listed in ((0, files[:2]), (2, files)):
        journal = Journal(folder, files=listed, max_bytes=1)
        for n in (number, number + 1):
            journal.append(Window(n, (0,), (1,), "rows"))
        assert [b'"files"' in line for line in path.read_bytes().splitlines()][-2:] == [True, False]
        assert files_in_journal(path) == listed
        journal.close()
    journal = Journal(folder, files=files, max_bytes=1)
    journal.rotate(0)
    journal.append(Window(4, (0,), (1,), "rows"))
    journal.close()
    assert b'"files"' in path.read_bytes()
    path.write_bytes(path.read_bytes()[:-1])  # torn: the older part has it, too
    assert files_in_journal(path) == files


def test_another_worker_reads_the_files_in_the_chiefs_order(folder):
    files = [dataclasses.asdict(file) for file in opened(folder).files]
    order = [files[2], files[0]]
    source = FileSource(f"{folder}/day_*")
    source.take_order(order)
    assert names(source.paths) == ["day_10", "day_8"]
    (folder / "day_8").write_bytes(b"8\n")
    (folder / "day_10").unlink()
    with pytest.raises(UserError) as e:
        FileSource(f"{folder}/day_*").take_order(order)
    assert (e.value.code, str(e.value).splitlines()[:3]) == (78, [
        "--input_files: files are not those that the chief of this job reads:",
        f"  {folder}/day_10 is missing",
        f"  {folder}/day_8 has 2 bytes, not 4",
    ])  # fmt: skip


def test_a_few_lines_are_fetched_of_several_files(tmp_path):
    (tmp_path / "a").write_bytes(b"".join(b"%d\n" % i for i in range(5)))
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"x\r\n\nlast"))
    (tmp_path / "c").write_bytes(b"not asked for")
    source = FileSource(f"{tmp_path}/*")
    assert source.fetch({0: (2, 4), 1: (0, 3)}) == {0: [(2, b"2"), (3, b"3")], 1: [(0, b"x\r"), (1, b""), (2, b"last")]}
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"x\n" * 1000)[:12])
    with pytest.raises(UserError, match="is no whole gzip file") as e:
        source.fetch({1: (0, 100)})
    assert e.value.code == 65


def test_a_disk_that_fails_is_said_of_the_file(folder, monkeypatch):
    source = opened(folder)
    monkeypatch.setattr("builtins.open", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(UserError, match="day_8 cannot be read") as e:
        source.take_order([dataclasses.asdict(file) for file in source.files])
    assert e.value.code == 66
