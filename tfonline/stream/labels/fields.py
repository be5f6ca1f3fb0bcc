"""What the messages of the two topics say: the key and the time of a row, and of an outcome whether it is a positive one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tfonline.features.kinds.category import CategoryColumn
from tfonline.features.kinds.label import NEGATIVE, POSITIVE
from tfonline.features.kinds.time import UNITS_A_SECOND, TimeColumn
from tfonline.lifecycle import Exit, UserError
from tfonline.settings.labels import LabelSettings
from tfonline.stream.readers import Rows

if TYPE_CHECKING:
    from tfonline.features.column import Column
    from tfonline.features.schema import Schema
    from tfonline.formats import Format


class Joined(NamedTuple):
    """Of some rows, or outcomes, in their order.

    Attributes:
      offset: of each.
      key: likewise; None where it has none.
      time_ms: of each, milliseconds since 1970; NO_TIME where there is none.
    """

    offset: Sequence[int]
    key: Sequence[bytes | None]
    time_ms: Sequence[int]


def check_label_columns(schema: "Schema", form: "Format", settings: LabelSettings) -> None:
    """Raises UserError where the flags name columns that are not there, or the messages cannot be joined (exit 64)."""
    key, time = settings.label_key, settings.label_time
    if form.many:
        raise UserError(
            f"--label_topic joins messages of one row each, and those of {form.name} have many. Use another format.", Exit.FLAGS
        )
    if key and key not in [column.name for column in schema.unlabelled]:
        raise UserError(
            f"--label_key={key} is no column. Expected one of {', '.join(c.name for c in schema.unlabelled)}, or nothing: then the "
            "messages' keys join rows and outcomes.",
            Exit.FLAGS,
        )
    if time and time not in schema.of_kind("time"):
        found = ", ".join(schema.of_kind("time")) or "of which there is none"
        raise UserError(
            f"--label_time={time} is no column of kind time ({found}). Leave it out to take the messages' times.", Exit.FLAGS
        )


class RowFields:
    """Takes key and time out of rows.

    Args:
      schema: the columns.
      form: the messages' format.
      settings: which columns they stand in.
    """

    def __init__(self, schema: "Schema", form: "Format", settings: LabelSettings):
        self._form, self._settings = form, settings
        wanted = [name for name in (settings.label_key, settings.label_time) if name]
        # Messages with names are looked at for these columns alone.
        columns = [c for c in schema.unlabelled if c.name in wanted or not form.named]
        self._columns = [_as_text(c) if c.name == settings.label_key else c for c in columns] if wanted else []

    def __call__(self, rows: Rows) -> Joined:
        """The keys and times of rows; of one that is refused, those that its message has. A tombstone has no key: nothing is joined
        with it.
        """
        joined = Joined(rows.offset, rows.key, rows.time_ms)
        if self._columns:
            texts, _ = _decoded(self._form, [message or b"" for message in rows.message], self._columns)
            joined = _joined(rows, texts, self._columns, self._settings)
        if None in rows.message:
            keys = [None if message is None else key for key, message in zip(joined.key, rows.message, strict=True)]
            joined = joined._replace(key=keys)
        return joined


class OutcomeFields:
    """Takes key, time and label out of outcomes: messages of the same format, of those columns of a row that are asked for here, in
    their order.

    An outcome that does not say its label is a positive one: that it came says so. One without a value is none.

    Args:
      schema: the columns of a row.
      form: the messages' format.
      settings: which columns the key and the time stand in.
    """

    def __init__(self, schema: "Schema", form: "Format", settings: LabelSettings):
        self._form, self._settings = form, settings
        (self._label,) = schema.columns_of("label")
        wanted = (self._label.name, settings.label_key, settings.label_time)
        columns = [c for c in schema.columns if c.name in wanted]
        self._columns = [c if c.name == settings.label_time else _as_text(c) for c in columns]
        self._place = [c.name for c in self._columns].index(self._label.name)
        self._known: dict[bytes, bool | None] = {}

    def __call__(self, rows: Rows) -> tuple[Joined, list[bool | None]]:
        """Keys and times, and of each whether it is a positive outcome; None for one that cannot be read, or has no key."""
        if len(self._columns) > 1:
            texts, reasons = _decoded(self._form, [message or b"" for message in rows.message], self._columns)
            joined = _joined(rows, texts, self._columns, self._settings)
            found = [
                None if reason else self._says(row[self._place].decode(errors="replace"))
                for row, reason in zip(texts, reasons, strict=True)
            ]
        else:
            joined, found = Joined(rows.offset, rows.key, rows.time_ms), self._of_label_alone(rows.message)
        return joined, [
            None if key is None or message is None else positive
            for key, message, positive in zip(joined.key, rows.message, found, strict=True)
        ]

    def _of_label_alone(self, messages: Sequence[bytes | None]) -> list[bool | None]:
        """As there are few different ones, each is looked at once."""
        if len(self._known) > 10_000:
            self._known.clear()
        if new := list({*messages} - self._known.keys() - {None, b""}):
            texts, reasons = _decoded(self._form, new, self._columns)
            for message, (text,), reason in zip(new, texts, reasons, strict=True):
                self._known[message] = None if reason else self._says(text.decode(errors="replace"))
        return [True if message == b"" else self._known.get(message) for message in messages]

    def _says(self, text: str) -> bool | None:
        if not text:
            return True
        if self._label.positive:
            return text in self._label.positive
        return True if text in POSITIVE else False if text in NEGATIVE else None


def _as_text(column: "Column") -> CategoryColumn:
    """The same place in a message, for any text."""
    return CategoryColumn(name=column.name, kind="category", path=column.path)


def _decoded(form: "Format", messages: Sequence[bytes], columns: "Sequence[Column]") -> tuple[list, list[int]]:
    import tensorflow as tf

    text, reason = form.decode(tf.constant(messages, tf.string), columns)
    return text.numpy().tolist(), reason.numpy().tolist()


def _joined(rows: Rows, texts: Sequence[Sequence[bytes]], columns: "Sequence[Column]", settings: LabelSettings) -> Joined:
    names, keys, times = [column.name for column in columns], rows.key, rows.time_ms
    if settings.label_key:
        place = names.index(settings.label_key)
        keys = [row[place] or None for row in texts]
    if settings.label_time:
        place = names.index(settings.label_time)
        times = _times([row[place] for row in texts], columns[place], rows.time_ms)
    return Joined(rows.offset, keys, times)


def _times(texts: Sequence[bytes], column: TimeColumn, instead: Sequence[int]) -> list[int]:
    """Milliseconds since 1970; where the value is missing, what stands in its place."""
    if column.unit in UNITS_A_SECOND:
        a_second = UNITS_A_SECOND[column.unit]
        return [int(text) * 1000 // a_second if text else ms for text, ms in zip(texts, instead, strict=True)]
    import tensorflow as tf

    from tfonline.features.kinds.time import Time

    found = Time().parse(tf.constant(texts)[:, None], [column])
    secs, missing = (t.numpy()[:, 0].tolist() for t in found)
    return [ms if none else 1000 * s for s, none, ms in zip(secs, missing, instead, strict=True)]
