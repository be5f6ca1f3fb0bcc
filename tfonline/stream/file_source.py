"""Files as a stream: each file is a partition, a line or a row of Parquet a row, and its number the offset.

Offsets are lists, one number a file, so each file keeps its place in the list for the life of a model, and a file that appears
later takes a place behind all others, wherever its name sorts. The checkpoint and the journal both hold the list of files: the
journal's is the longer one where a window of a new file was planned and the run then ended without a checkpoint.
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfonline.lifecycle import Exit, Stop, UserError
from tfonline.stream.journal import files_in_journal
from tfonline.stream.messages import Wanted, open_messages
from tfonline.stream.readers.files import FileReader
from tfonline.stream.row_files import find_files, open_rows

_HEAD_BYTES = 64 * 1024


@dataclasses.dataclass(frozen=True)
class InputFile:
    """A file as a run found it at its start. A checkpoint holds one a partition, to know the file again.

    Attributes:
      name: as the pattern gave it.
      bytes: its size on disk.
      rows: its lines, a header among them, or its rows of Parquet.
      ends_line: whether its last row has a line end. Where it has none, what is appended changes that row.
      head: SHA-256 of its first 64 KiB on disk, of all where it is smaller: hexadecimal.
    """

    name: str
    bytes: int
    rows: int
    ends_line: bool
    head: str


class FileSource:
    """Files of lines, plain or .gz, or of Parquet: each a partition. The admin side; it has a reader.

    The files are listed and their rows counted at the start; a file must not change while it is trained from. The reader reads
    each once more. Between two runs a file may grow at its end.

    Args:
      pattern: paths or globs, comma separated.
      paths: the files, in the order of their partitions; None: those of the pattern, a glob's by number (day_8 before day_10).
      wanted: what is to be made of their rows.

    Attributes:
      name: the pattern.
      reader: of the files' rows.

    Raises:
      UserError: a part of the pattern matches no file (exit 66).
    """

    topic_id = ""

    def __init__(self, pattern: str, paths: Sequence[str] | None = None, wanted: Wanted = Wanted()):  # noqa: B008 - a tuple
        self.name = pattern
        self.reader = FileReader(find_files(pattern.split(",")) if paths is None else paths, wanted)
        self._found: dict[str, InputFile] = {}

    @property
    def paths(self) -> list[str]:
        """The files, in the order of their partitions."""
        return self.reader.paths

    @property
    def num_partitions(self) -> int:
        """The number of files."""
        return len(self.paths)

    @property
    def files(self) -> list[InputFile]:
        """The files, in the order of their partitions. The first call reads each to its end, to count its lines.

        Raises:
          UserError: a file cannot be read (exit 66), is no whole file, or does not have the columns (65).
        """
        self._found |= {path: _look_at(path, self.reader.wanted) for path in self.paths if path not in self._found}
        return [self._found[path] for path in self.paths]

    def begins(self) -> list[int]:
        """0 for each file."""
        return [0] * self.num_partitions

    def ends(self) -> list[int]:
        """The number of rows of each file, as counted at the start. May raise what `files` raises."""
        return [file.rows for file in self.files]

    def wait_for_rows(self, ends: Sequence[int], stop: Stop, secs: float) -> bool:
        """See Source; a run knows the files as they were at its start, so no row comes."""
        stop.wait(secs)
        return False

    def fetch(self, ranges: Mapping[int, tuple[int, int]]) -> dict[int, list[tuple[int, bytes]]]:
        """The rows of each range of a file's rows, `[start, stop)`, counted from 0: number and message. The reader does not move.

        Raises:
          UserError: a file cannot be read (exit 66), is no whole file, or does not have the columns (65).
        """
        found = {}
        for partition, (start, stop) in ranges.items():
            with contextlib.closing(open_messages(self.paths[partition], self.reader.wanted, start)) as file:
                messages = list(enumerate(file.take(stop - start), start))
                found[partition] = messages[file.header and start == 0 :]
        return found

    def take_order(self, files: Sequence[dict[str, Any]]) -> None:
        """Takes over the chief's list of files, on the other workers of a job.

        Raises:
          UserError: one of them is not here as the chief sees it (exit 78).
        """
        known = [InputFile(**file) for file in files]
        _refuse([(file.name, _why_another(file, file.bytes)) for file in known], "that the chief of this job reads")
        self.reader.paths = [file.name for file in known]

    def close(self) -> None:
        """Closes the files that are not read to their end."""
        self.reader.close()


def open_files(
    pattern: str,
    model_dir: str,
    saved: Any,
    replay_journal: str,
    say: Callable[[str], None],
    wanted: Wanted = Wanted(),  # noqa: B008 - a tuple
) -> FileSource:
    """The files of --input_files, each at the place in the list that it has in the checkpoint or the journal.

    Args:
      pattern: as in the flag.
      model_dir: the model folder.
      saved: what its newest checkpoint holds; None for a new model.
      replay_journal: as in the flag: a new model takes the places of the files from this journal.
      say: told of new files, and of a list whose names are not known.
      wanted: what is to be made of their rows.

    Raises:
      UserError: a file that the model was trained from is missing or is another one now (exit 78), the pattern means no file or
        a file cannot be read (66), or a file is no whole gzip file (65).
    """
    known = [InputFile(**file) for file in files_in_journal(pathlib.Path(model_dir) / "windows.jsonl")]
    position: list[int] = []
    if saved is not None:
        if saved.contract.get("topic") != pattern:
            return FileSource(pattern, wanted=wanted)  # the contract is checked next, and says it better
        position, of_checkpoint = saved.position.next, [InputFile(**file) for file in saved.position.files_read]
        if [a.name for a in known[: len(of_checkpoint)]] != [b.name for b in of_checkpoint[: len(known)]]:
            raise UserError(
                f"the journal in {model_dir} lists other files than the checkpoint: {', '.join(a.name for a in known)} against "
                f"{', '.join(b.name for b in of_checkpoint)}. Use the model folder that the journal came from.",
                Exit.CONFIG,
            )
        known = max(known, of_checkpoint, key=len)
        if not known:
            return _in_former_order(pattern, len(position), "the checkpoint", say, wanted)
    elif replay_journal:
        if not (replayed := [InputFile(**file) for file in files_in_journal(replay_journal)]):
            return _in_former_order(pattern, None, replay_journal, say, wanted)
        known, position = _found_again(replayed, find_files(pattern.split(","))), [file.rows for file in replayed]
    trained = [*position, *[0] * (len(known) - len(position))]
    missing = [(file.name, "is missing") for file in known if not os.path.isfile(file.name)]
    _refuse(missing, "that the model was trained from")
    found = find_files(pattern.split(","))
    names = [file.name for file in known]
    new = [path for path in found if path not in names]
    source = FileSource(pattern, names + new, wanted)
    now = source.files
    _refuse(
        [(file.name, _why_changed(file, now[p], trained[p])) for p, file in enumerate(known)], "that the model was trained from"
    )
    if known and new:
        say(f"{len(new)} new files, behind those that are known: {', '.join(new)}")
    return source


def _in_former_order(pattern: str, num_partitions: int | None, what: str, say: Callable[[str], None], wanted: Wanted) -> FileSource:
    """The files in the order that all checkpoints and journals without names are in: of a glob, that of their names' letters."""
    parts = [sorted(find_files([part])) for part in pattern.split(",")]
    source = FileSource(pattern, [path for part in parts for path in part], wanted)
    if num_partitions is not None and num_partitions != source.num_partitions:
        raise UserError(
            f"{what} has offsets of {num_partitions} files but not their names, and --input_files={pattern} means "
            f"{source.num_partitions} now: {', '.join(source.paths)}. Which offset is whose cannot be told. For one start, leave "
            "in place exactly the files that were there: from then on their names are kept, and new files may come.",
            Exit.CONFIG,
        )
    say(f"{what} does not name the files that its offsets are of: they are taken for {', '.join(source.paths)}, in this order")
    _ = source.files  # a file that cannot be read is said now
    return source


def _found_again(replayed: Sequence[InputFile], found: Sequence[str]) -> list[InputFile]:
    """The files of another run's journal, where they lie now: a file may have been moved, and is known by how it begins."""
    left, places, lost = list(found), [], []
    for file in replayed:
        alike = [path for path in left if _head(path, file.bytes) == file.head]
        near = [path for path in alike if path == file.name] + [
            path for path in alike if os.path.basename(path) == os.path.basename(file.name)
        ]
        path = next(iter(near + alike), None)
        if path is None:
            lost.append((file.name, "is not among the files of this run, under this name or another"))
        else:
            left.remove(path)
            places.append(dataclasses.replace(file, name=path))
    _refuse(lost, "that the journal was made from")
    return places


def _why_changed(known: InputFile, now: InputFile, trained: int) -> str:
    """Why a file is not the one that rows were trained from; '' where it is, or where none were."""
    if not trained:
        return ""
    if now.rows < trained:
        return f"has {now.rows:,} rows, and {trained:,} of it have been trained"
    if now.bytes > known.bytes and not known.ends_line and trained >= known.rows and not _goes_on_with_a_line_end(known):
        return "has been added to; its last row had no line end when it was trained, and is another one now"
    return _why_another(known, 0)


def _goes_on_with_a_line_end(known: InputFile) -> bool:
    """Whether what was added to a file begins with the line end that its last row lacked: then that row is what it was."""
    if known.name.endswith(".gz"):
        return False
    with open(known.name, "rb") as file:
        file.seek(known.bytes)
        return file.read(1) == b"\n"


def _why_another(known: InputFile, least_bytes: int) -> str:
    """Why the file of this name is another one, or smaller; '' where it is not."""
    if not os.path.isfile(known.name):
        return "is missing"
    if os.path.getsize(known.name) < least_bytes:
        return f"has {os.path.getsize(known.name):,} bytes, not {least_bytes:,}"
    return "" if _head(known.name, known.bytes) == known.head else "does not begin as it did: it was replaced"


def _refuse(problems: Sequence[tuple[str, str]], which: str) -> None:
    wrong = [f"  {name} {why}" for name, why in problems if why]
    if wrong:
        raise UserError(
            f"--input_files: files are not those {which}:\n" + "\n".join(wrong) + "\nPut them back as they were, or start a new "
            "--model_dir. Rows may be added at the end of a file, and new files may come.",
            Exit.CONFIG,
        )


def _look_at(path: str, wanted: Wanted) -> InputFile:
    with contextlib.closing(open_messages(path, wanted)) as file:  # what it lacks is said now
        if (rows := file.num_rows) is not None:
            size = os.path.getsize(path)
            return InputFile(path, size, rows, True, _head(path, size))
    rows, block, last = 0, b"", b"\n"
    with open_rows(path) as file:
        while block := file.read1():
            rows, last = rows + block.count(b"\n"), block[-1:]
        num_bytes = file.disk_bytes
    ends_line = last == b"\n"
    return InputFile(path, num_bytes, rows + (not ends_line), ends_line, _head(path, num_bytes))


def _head(path: str, num_bytes: int) -> str:
    """The digest of how a file begins that had so many bytes; of less where it is smaller now, which no digest equals."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read(min(num_bytes, _HEAD_BYTES))).hexdigest()
    except OSError as e:
        raise UserError(f"{path} cannot be read ({e.strerror}). Expected a file of rows, plain or .gz.", Exit.NO_INPUT) from e
