"""Messages that are no rows, of each format."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfonline.features.column import Column
    from tfonline.formats import Format


def corpus(form: "Format", fields: Sequence[str], columns: "Sequence[Column]") -> list[bytes]:
    """Bad messages, several of each kind of mistake that the format allows.

    Args:
      form: the messages' format.
      fields: of a good row.
      columns: of a row: the label first, then an integer column, and so on.
    """

    def row(**changed: str) -> bytes:
        return form.encode([changed.get(column.name, field) for column, field in zip(columns, fields, strict=True)], columns)

    good = row()
    wrong_values = [row(label="2"), row(label=""), row(I1="1.5"), row(I2="many"), row(I13="1" * 19)]
    if form.lines:
        return [*wrong_values, *_lines(form.name, good)]
    return [*wrong_values, b"\xff" * 40, good[: len(good) // 2], good[:-1], good[:1]]


def _lines(name: str, good: bytes) -> list[bytes]:
    cut = {"tsv": [b"\t"], "csv": [b","], "json": [b","], "json_objects": []}[name]
    missing = [good.rpartition(separator)[0] for separator in cut]
    damaged = [b"\xff\xfe", b" ", b"no row", good + b"\n" + good]
    if name.startswith("json"):
        damaged += [good[:-1], b"[]", b"{", b"5", good.replace(b"{", b"{{", 1) if name == "json_objects" else good[1:]]
    if name == "csv":
        damaged += [good + b',"', b'"a"b' + good]
    return [*missing, *damaged]
