"""Rows of messages that a schema describes, Avro's and Protobuf's, for tools/schema.py infer: read as the trainer reads them."""

from collections.abc import Sequence
from typing import Any

from schema_sample import Message, Sample

from tfonline.features.column import Column
from tfonline.features.kinds.categories import CategoriesColumn
from tfonline.features.kinds.category import CategoryColumn
from tfonline.formats.explain import examine_all
from tfonline.formats.of_batches import OfBatches
from tfonline.lifecycle import Exit, UserError

_BETWEEN = "\x1f"  # the values of a list, for as long as it is one text: a character that no value has
_TRIED_ROWS = 1000
_MOST_REFUSED = 0.1  # of the rows may be refused for one column, or it is left out
_OF_A_VALUE = ("type", "encoding")  # reasons; any other is the whole message's


def of_described(messages: Sequence[Message], form: OfBatches, source: str) -> Sample:
    """The rows of messages, with what their schemas say of each column.

    A column's values are the texts that the trainer has of it, and lists of such. A column is left out where more than a tenth of
    the rows would be refused for its values, such as texts with line ends.

    Raises:
      UserError: there is no message (exit 66), no column can be made of it (65), the registry does not know a schema or does not
        answer (75), or refuses to (77).
    """
    rows = [message for message in messages if message.value]  # a tombstone is no row, and nothing to mend
    if not rows:
        raise UserError(f"{source} holds no row. Expected rows to look at.", Exit.NO_INPUT)
    values = [message.value for message in rows]
    sample = Sample(source, form.name, named=True, fields=form.fields(values))
    sample.unreachable |= {path: field.unfit for path, field in sample.fields.items() if field.unfit}
    columns = _columns(sample)
    if any(found.reason in _OF_A_VALUE for found in examine_all(values, columns, form)):
        for column in columns:
            tried = list(examine_all(values[:_TRIED_ROWS], [column], form))
            refused = [found for found in tried if found.reason in _OF_A_VALUE]
            if len(refused) > _MOST_REFUSED * len(tried):
                share = len(refused) / len(tried)
                sample.unreachable[column.key] = f"{share:.0%} of the rows would be refused for it, as {refused[0].words}"
        columns = _columns(sample)
    keys = [column.key for column in columns]
    for message, found in zip(rows, examine_all(values, columns, form), strict=True):
        if found.reason:
            sample.refuse(message.place, found.words)
        else:
            sample.add(message.place, zip(keys, map(_value, found.texts, columns), strict=True))
    return sample.close()


def _columns(sample: Sample) -> list[Column]:
    """A column for each field that one can be made of; raises UserError where there is none."""
    fit = [(path, field.is_list) for path, field in sample.fields.items() if path not in sample.unreachable]
    if not fit:
        why = "; ".join(f"{path}: {reason}" for path, reason in sample.unreachable.items())
        raise UserError(f"no column can be made of any field of {sample.source}: {why or 'no message has a schema'}.", Exit.DATA)
    return [
        CategoriesColumn(name=f"c{i}", path=path, separator=_BETWEEN) if is_list else CategoryColumn(name=f"c{i}", path=path)
        for i, (path, is_list) in enumerate(fit)
    ]


def _value(text: str, column: Column) -> Any:
    if not text:
        return None
    return text.split(_BETWEEN) if isinstance(column, CategoriesColumn) else text
