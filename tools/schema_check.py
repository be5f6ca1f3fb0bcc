"""Rows held against a YAML of columns before they are trained from, for tools/schema.py check."""

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import schema_guess
from schema_evidence import Evidence, Evidences
from schema_guess import Guess
from schema_sample import Message, Sample

from tfonline.features.column import Column
from tfonline.features.kinds import KINDS
from tfonline.features.schema import Schema
from tfonline.formats import Format
from tfonline.formats.explain import examine_all
from tfonline.formats.of_batches import OfBatches
from tfonline.formats.recognise import guess as look

_EXAMPLES = 3
_GUESSED_ROWS = 1000
_KEYS_SHOWN = 20


@dataclasses.dataclass
class Checked:
    """What was found.

    Attributes:
      num_rows: that were looked at.
      num_refused: of those the trainer would refuse.
      refused: of each reason and column how many rows, and the first of them in words.
      looks: what most of the refused rows look like; '' where they have the expected form.
      label_rate: the share of 1.
      mend: what keeps a run from learning, in words.
      warnings: what a person should look at.
    """

    num_rows: int = 0
    num_refused: int = 0
    refused: dict[tuple[str, str], tuple[int, list[str]]] = dataclasses.field(default_factory=dict)
    looks: str = ""
    label_rate: float = 0.0
    mend: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)

    def in_words(self) -> str:
        """All of it, a line each."""
        lines = []
        for (reason, column), (number, examples) in sorted(self.refused.items(), key=lambda item: -item[1][0]):
            of_column = f" {column}" if column else ""
            lines.append(f"refused: {reason}{of_column}: {number:,} rows ({number / self.num_rows:.2%}), such as")
            lines += [f"  {example}" for example in examples]
        lines += [f"refused rows: {self.looks}"] if self.looks else []
        lines += [f"warning: {text}" for text in self.warnings] + [f"mend: {text}" for text in self.mend]
        lines.append(
            f"check: rows={self.num_rows} refused={self.num_refused} label_rate={self.label_rate:.5f} "
            f"warnings={len(self.warnings)} mend={len(self.mend)}"
        )
        return "\n".join(lines)


def check(messages: Iterable[Message], schema: Schema, form: Format, max_rejected_ratio: float, leak_auc: float) -> Checked:
    """Looks at messages as the trainer does, and at what their columns hold.

    Args:
      messages: of the stream.
      schema: the columns.
      form: the messages' format.
      max_rejected_ratio: as the trainer's flag.
      leak_auc: a column that alone tells the label with a larger AUC is warned of.
    """
    found, sample, unknown, bad = Checked(), Sample("", form.name, named=True), collections.Counter[str](), []
    with_schema: list[bytes] = []
    messages = list(messages)
    seen_of_all = examine_all([message.value for message in messages], schema.columns, form)
    for message, seen in zip(messages, seen_of_all, strict=True):
        found.num_rows += 1
        if seen.reason:
            found.num_refused += 1
            number, examples = found.refused.get((seen.reason, seen.column), (0, []))
            examples = examples if len(examples) >= _EXAMPLES else [*examples, f"{message.place}: {seen.words or 'no byte at all'}"]
            found.refused[seen.reason, seen.column] = (number + 1, examples)
            bad += [message.value] if len(bad) < _GUESSED_ROWS else []
        else:
            sample.add(message.place, zip(schema.names, (text or None for text in seen.texts), strict=True))
            if form.named and form.lines:
                unknown.update(_unknown(form.contents(message.value), schema.columns))
            elif isinstance(form, OfBatches):
                with_schema.append(message.value)
    found.looks = look(bad, schema, form) if bad else ""
    _judge(found, sample.close(), schema, max_rejected_ratio, leak_auc)
    if fields := _unknown_fields(with_schema, schema.columns, form):
        found.warnings.append(f"fields of the messages' schema that no column takes: {fields}")
    if unknown:
        keys = ", ".join(f"{key} ({n / max(sample.num_rows, 1):.0%})" for key, n in unknown.most_common(_KEYS_SHOWN))
        more = f" and {len(unknown) - _KEYS_SHOWN} more" if len(unknown) > _KEYS_SHOWN else ""
        found.warnings.append(f"keys that no column takes, and the share of rows that have them: {keys}{more}")
    return found


def _judge(found: Checked, sample: Sample, schema: Schema, max_rejected_ratio: float, leak_auc: float) -> None:
    if not found.num_rows:
        found.mend.append("there is no row")
        return
    if (ratio := found.num_refused / found.num_rows) > max_rejected_ratio or not sample.num_rows:
        found.mend.append(
            f"{ratio:.2%} of the rows would be refused, and --max_rejected_ratio={max_rejected_ratio:g}: a run would end. Mend "
            "--columns or --format by the reasons above, or the producer"
        )
    if not sample.num_rows:
        return
    label = schema.columns_of("label")[0]
    positive = label.positive or ("1", "true")
    labels = [int(text in positive) for text in sample.columns[schema.label]]
    found.label_rate = sum(labels) / len(labels)
    if sum(labels) in (0, len(labels)):
        found.mend.append(
            f"the label {schema.label} is {labels[0]} in all {len(labels):,} rows: nothing can be learned from them. Name another "
            "column, say which of its texts are `positive`, or look at more rows (--rows)"
        )
    with Evidences(sample) as evidences:
        evidences.give_labels(labels)
        for column in schema.columns:
            if KINDS[column.kind].is_feature:
                evidence = evidences.of(column.name)
                evidence.auc = evidences.auc(evidence) if evidence.num_values else None
                found.warnings += [f"{column.name}: {text}" for text in _of_column(column, evidence, leak_auc)]


def _of_column(column: Column, evidence: Evidence, leak_auc: float) -> list[str]:
    """What is strange about a feature's values."""
    if not evidence.num_values:
        return ["always missing; is its name, or its path, what the messages have?"]
    if evidence.distinct == 1 and not evidence.missing:
        return ["the same value in all rows: nothing can be learned from it"]
    if evidence.auc is not None and evidence.auc > leak_auc:
        return [f"alone it tells the label with AUC {evidence.auc:.3f}: is it known before the click?"]
    evidence.key = column.key
    seen = schema_guess.guess(evidence)
    return [text for text in (_another_kind(column, evidence, seen), _many_values(column, evidence, seen)) if text]


def _another_kind(column: Column, evidence: Evidence, seen: Guess) -> str:
    if seen.kind == "time" and column.kind != "time":
        return f"its values look like moments: kind time, unit {seen.options['unit']}"
    if seen.kind == "time" and seen.options["unit"] != column.unit:
        return f"its values look like moments of unit {seen.options['unit']}, not {column.unit}"
    if column.kind == "category" and seen.kind == "number":
        return "its values look like decimal numbers: kind number"
    if column.kind == "integer" and seen.kind == "category" and not seen.doubtful:
        return "its numbers look like ids, not like amounts: kind category"
    return ""


def _many_values(column: Column, evidence: Evidence, seen: Guess) -> str:
    if column.kind != "category":
        return ""
    if seen.kind == "ignore":
        return f"{evidence.distinct:,} different values in {evidence.num_values:,} rows: an id of the row? kind ignore"
    if "hash_buckets" in seen.options and not column.hash_buckets:
        return f"{evidence.new:.0%} of the later half's values are new: hash_buckets keeps what a dictionary cannot"
    return ""


def _unknown_fields(messages: Sequence[bytes], columns: Sequence[Column], form: Format) -> str:
    """Fields on no column's path that a column can be made of; '' where there is none, or no schema."""
    if not messages:
        return ""
    taken = {column.key for column in columns}
    paths = [path for path, field in form.fields(messages).items() if path not in taken and not field.unfit]
    return ", ".join(paths[:_KEYS_SHOWN]) + (f" and {len(paths) - _KEYS_SHOWN} more" if len(paths) > _KEYS_SHOWN else "")


def _unknown(inside: dict[str, Any], columns: Sequence[Column]) -> Iterable[str]:
    """Keys of an object that lie on no column's path, whole objects by their own key."""
    paths = [tuple(column.steps) for column in columns]

    def walk(values: dict[str, Any], before: tuple[str, ...]) -> Iterable[str]:
        for key, value in values.items():
            path = (*before, key)
            leads = [p for p in paths if p[: len(path)] == path]
            if not leads:
                yield ".".join(path)
            elif isinstance(value, dict) and path not in leads:
                yield from walk(value, path)

    return itertools.islice(walk(inside, ()), _KEYS_SHOWN * 10)
