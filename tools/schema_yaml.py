"""The YAML of columns that tools/schema.py infer writes: an entry a column, with what the rows say of it as a comment."""

import os
import pathlib
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml
from schema_evidence import Evidence
from schema_guess import Guess, moment_of, names_for
from schema_sample import PARQUET, Sample

from tfonline.features.schema import Schema, load_schema
from tfonline.lifecycle import Exit, UserError

_WIDTH = 132
_COMMENT_AT = 48  # where the evidence begins, unless an entry is longer
_SHOWN_CHARACTERS = 20
# A value that so many rows have, and such a share of all, is nobody's own.
_SHOWN_ROWS, _SHOWN_SHARE = 10, 0.01


class Inferred(NamedTuple):
    """What was found out of a sample.

    Attributes:
      sample: the rows.
      columns: what they say of each column, by key.
      label: the label's key.
      positive: which of its texts are a 1; () where they are 0 and 1 themselves.
      label_rate: the share of 1 among the rows with a label.
      guesses: of each column but the label, by key.
      notes: of the whole.
      settings: what the YAML says of the messages beside their format: framing, message_schema, message_type.
    """

    sample: Sample
    columns: Mapping[str, Evidence]
    label: str
    positive: tuple[str, ...]
    label_rate: float
    guesses: Mapping[str, Guess]
    notes: Sequence[str]
    settings: Mapping[str, str] = {}


def as_yaml(found: Inferred, name: str) -> str:
    """The file's text."""
    sample = found.sample
    named = " with a header line" if sample.named and sample.form in ("tsv", "csv") else ""
    head = [
        f"Written by tools/schema.py infer from {sample.num_rows:,} rows of {sample.source} ({sample.form}{named}). The kinds are "
        "guesses from these rows: look at the evidence behind each, mend what is wrong, delete what is not to be learned from.",
        f"{sample.num_bad:,} rows were none." if sample.num_bad else "",
        *found.notes,
    ]
    lines = [line for text in head if text for line in _wrapped(text, "# ")]
    lines += [f"name: {_flow(name)}"]
    if sample.form != PARQUET:
        lines += [f"format: {sample.form}"]
    lines += [f"{setting}: {_flow(value)}" for setting, value in found.settings.items() if value]
    lines += ["columns:"]
    names = names_for(list(found.columns))
    for key, evidence in found.columns.items():
        lines += _lines_of(found, key, names[key], evidence)
    for key, why in sample.unreachable.items():
        lines += _wrapped(f"left out: {key}: {why}", "  # ")
    return "\n".join(lines) + "\n"


def write(path: str, text: str, force: bool) -> Schema:
    """Writes the file once the trainer has taken it; returns its columns.

    Raises:
      UserError: there is a file of this name, without `force` (exit 64), or it cannot be written (64).
    """
    if not force and os.path.lexists(path):
        raise UserError(
            f"--output={path} is there already. Give another name, or --force to write over it: edits in it would be lost.",
            Exit.FLAGS,
        )
    with tempfile.TemporaryDirectory() as folder:
        tried = pathlib.Path(folder) / "columns.yaml"
        tried.write_text(text, encoding="utf-8")
        schema = load_schema(str(tried))
    try:
        with open(path, "w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except OSError as e:
        raise UserError(f"--output={path} cannot be written ({e.strerror}). Give a place that can.", Exit.FLAGS) from e
    return schema


def _lines_of(found: Inferred, key: str, name: str, evidence: Evidence) -> list[str]:
    by_place = not found.sample.named
    entry: dict[str, Any] = {"name": name} | ({} if by_place or name == key else {"path": key})
    if key == found.label:
        entry["kind"] = "label"
        notes: tuple[str, ...] = ()
        if found.positive:
            entry["positive"] = list(found.positive)
    else:
        guessed = found.guesses[key]
        notes = guessed.notes
        if not guessed.kind:
            return _wrapped(f"left out: {key}: {'; '.join(notes)}", "  # ")
        entry |= {"kind": guessed.kind, **guessed.options}
    body = f"  - {_flow(entry)}"
    comment = "  # " + ", ".join(in_words(found, key, entry["kind"], evidence))
    lines = [body.ljust(_COMMENT_AT) + comment]
    if len(lines[0]) > _WIDTH:
        lines = [body, *_wrapped(comment.removeprefix("  # "), "    # ")]
    return lines + [line for note in notes for line in _wrapped(f"^ {note}", "    # ")]


def in_words(found: Inferred, key: str, kind: str, evidence: Evidence) -> list[str]:
    """What the rows say of a column, in a few words: shares and ranges, and of values only such as many rows have."""
    if kind == "label":
        return [f"{found.label_rate:.2%} are 1"]
    words = [f"{evidence.distinct:,} value{'s' * (evidence.distinct != 1)}"]
    if evidence.missing:
        words.append(f"missing {evidence.missing:.1%}")
    if evidence.lengths and kind == "categories":
        median, most, longest = evidence.lengths
        words.append(f"lengths: half up to {median}, 99% up to {most}, all up to {longest}")
    if kind == "time":
        words.append(_span(evidence, found.guesses[key].options["unit"]))
    elif kind in ("integer", "number", "weight"):
        words.append(f"{evidence.low:g} to {evidence.high:g}, median {evidence.median:g}")
    elif kind == "category" and "hash_buckets" not in found.guesses[key].options:
        words += [
            f"{_short(value)} {rows / evidence.num_rows:.0%}"
            for value, rows in evidence.top[:3]
            if rows >= max(_SHOWN_ROWS, _SHOWN_SHARE * evidence.num_rows)
        ]
    if evidence.auc is not None and evidence.auc == evidence.auc:
        words.append(f"AUC alone {evidence.auc:.3f}")
    if evidence.field.words:
        words.append(f"schema: {evidence.field.words}")
    if key in found.guesses and found.guesses[key].doubtful:
        words.append("a guess: numbers that could be an amount or an id")
    return words


def _span(evidence: Evidence, unit: str) -> str:
    if unit in ("s", "ms", "us"):
        return f"{moment_of(evidence.low, unit)} to {moment_of(evidence.high, unit)}"
    return f"{evidence.first} to {evidence.last}"


def _short(value: str) -> str:
    shown = value if len(value) <= _SHOWN_CHARACTERS else f"{value[:_SHOWN_CHARACTERS]}..."
    return repr(shown)


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return text.strip().removesuffix("\n...")


def _wrapped(text: str, before: str) -> list[str]:
    """The text as comment lines. Control characters and line ends in it are written out: they would end the comment."""
    seen = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    as_words = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(seen, _WIDTH, initial_indent=before, subsequent_indent=before, **as_words)
