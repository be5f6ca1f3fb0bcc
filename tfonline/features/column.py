"""What every column of a data set has. What a kind of columns has beside it, its own class says (features/kinds/)."""

import re
from typing import Annotated, Any, ClassVar, NamedTuple

import pydantic

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.\.[A-Za-z][A-Za-z0-9_]*)?")


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no column name. Expected letters a-z, A-Z, digits and _, a letter first, or a range such as I1..I13. "
            "Where the messages have another name for it, that is the column's `path`."
        )
    return name


Name = Annotated[str, pydantic.AfterValidator(_check_name)]


class Texts(NamedTuple):
    """Which texts a column takes.

    Attributes:
      pattern: a regular expression that RE2, Java and Python understand alike: without groups that capture, and for no text with a
        tab, a line feed or a carriage return.
      blank: the text of a missing value; where no value may be missing, the one that stands in the place of a refused row.
      example: a text that is a value.
      expected: what it takes, in words that follow "expected is".
    """

    pattern: str
    blank: str
    example: str
    expected: str


ANY_TEXT = r"[^\t\r\n]*"  # what the field of a row can hold at all


class Column(pydantic.BaseModel):
    """One column, of any kind.

    Attributes:
      name: in the trainer's words, the dictionaries and the signature `columns`.
      kind: what it holds; one of features.kinds.KINDS.
      path: where messages with names have it, such as `item.price`; '' for its name. Messages without names have it at its place.
    """

    default_text: ClassVar[str] = ""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    name: Name
    kind: str
    path: str = ""

    @property
    def key(self) -> str:
        """By which messages with names have it: the path, or the name."""
        return self.path or self.name

    @property
    def steps(self) -> list[str]:
        """The names on the way to it, through objects inside objects; the last one is that of its value."""
        return self.key.split(".")

    @property
    def options(self) -> dict[str, Any]:
        """What the YAML says of it beside name and kind, as plain data; nothing that is as it is by itself."""
        return self.model_dump(mode="json", exclude={"name", "kind"}, exclude_defaults=True)


class ValueColumn(Column):
    """A column whose values may be missing.

    Attributes:
      default: stands for a missing value; None: it stays missing.
    """

    default: str | int | float | bool | None = None

    @property
    def default_text(self) -> str:
        """The default as a message holds it; '' where there is none."""
        if self.default is None:
            return ""
        return str(self.default).lower() if isinstance(self.default, bool) else str(self.default)
