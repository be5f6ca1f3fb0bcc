"""The schemas that messages were written by, by the ids of their registry: in memory, in the model folder, from the registry.

A schema is kept in the model folder before a message that it wrote is decoded, so that a replay needs no registry.
"""

import json
import os
import pathlib
import re
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

from tfonline.formats.by_python import Refused
from tfonline.lifecycle import Exit, UserError, flush_to_disk

FOLDER = "schemas"  # of a model folder
_NAME = re.compile(r"\d+\.json")


class Written(NamedTuple):
    """A schema as a registry has it.

    Attributes:
      kind: AVRO or PROTOBUF.
      schema: its text.
      references: the texts of the schemas that it needs, by name, each behind those that it needs itself.
    """

    kind: str
    schema: str
    references: dict[str, str]


class Schemas:
    """Schemas by id.

    Args:
      known: those that are known, as `about` gives them.
      folder: where they are kept, and found again; '': nowhere.
      keep: whether new ones are written there.
      also: another such folder, whose schemas are known and kept, too; '': there is none.
      ask: fetches one from the registry; None: there is none to ask.
      needed: whether a schema that cannot be had is an error. If not, its messages are refused: a server has no registry.
      say: told of each that is new; None: nobody.
    """

    def __init__(
        self,
        known: Mapping[str, Mapping] | None = None,
        folder: str | os.PathLike = "",
        keep: bool = True,
        also: str | os.PathLike = "",
        ask: Callable[[int], Written] | None = None,
        needed: bool = False,
        say: Callable[[str], None] | None = None,
    ):
        self._known = {int(number): Written(**entry) for number, entry in (known or {}).items()}
        self._folder, self._ask, self._needed = pathlib.Path(folder) if folder else None, ask, needed
        self.say = say or (lambda line: None)
        self._lock = threading.Lock()
        here = _read(folder)
        self._known |= _read(also) | here
        if not keep:
            self._folder = None
        if self._folder:
            for number in self._known.keys() - here.keys():
                self._keep(number, self._known[number])

    def __len__(self) -> int:
        return len(self._known)

    @property
    def about(self) -> dict[str, dict]:
        """Those that are known, as plain data."""
        return {str(number): entry._asdict() for number, entry in sorted(dict(self._known).items())}

    def get(self, number: int) -> Written:
        """The schema of an id.

        Raises:
          Refused: it is unknown, and there is nobody to ask.
          UserError: the registry does not know it or does not answer (exit 75), refuses to (77); or it is needed, and there is no
            registry (64).
          OSError: it cannot be kept.
        """
        with self._lock:
            if number in self._known:
                return self._known[number]
            if not self._ask:
                known = ", ".join(map(str, sorted(self._known))) or "none"
                if self._needed:
                    raise UserError(
                        f"a message was written by the schema with id {number}, and the model folder holds {known}. Give "
                        "--registry_url, so that it can be fetched.",
                        Exit.FLAGS,
                    )
                raise Refused("framing", f"it was written by the schema with id {number}; the model knows {known}")
            found = self._ask(number)
            if self._folder:
                self._keep(number, found)
            self._known[number] = found
            self.say(f"schema {number} is fetched from the registry" + (f" and kept in {self._folder}" if self._folder else ""))
            return found

    def _keep(self, number: int, found: Written) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        beside = self._folder / f".{number}.{os.getpid()}"
        beside.write_text(json.dumps(found._asdict(), indent=2) + "\n")
        flush_to_disk(beside)
        beside.rename(self._folder / f"{number}.json")
        flush_to_disk(self._folder)


def _read(folder: str | os.PathLike) -> dict[int, Written]:
    """The schemas of a folder by their ids; none where there is no folder."""
    if not folder or not os.path.isdir(folder):
        return {}
    files = [file for file in pathlib.Path(folder).iterdir() if _NAME.fullmatch(file.name)]
    return {int(file.stem): Written(**json.loads(file.read_text())) for file in files}
