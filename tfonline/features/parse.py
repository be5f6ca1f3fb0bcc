"""Raw messages to fields, vectorised. A bad row is found and set aside; it never fails its batch."""

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from tfonline.features.schema import Schema

# Why a row is refused. A row's reason is the index here; 0 is a good row. `encoding`: bytes that RE2 does not take for UTF-8 (it
# lets overlong forms and surrogates through: they are values like any other).
REASONS = ("", "empty", "encoding", "json", "fields", "label", "number")

IN_WORDS = {
    "empty": "no byte at all",
    "encoding": "no UTF-8",
    "json": "no JSON list of plain strings, whole numbers and null",
    "fields": "more or fewer fields than there are columns, or a line end inside",
    "label": "the label is neither 0 nor 1",
    "number": "an integer column holds something else than a whole number of at most 18 digits",
}

# At most 18 digits, so that the number fits an int64.
_PATTERNS = {"label": "[01]", "integer": "(-?[0-9]{1,18})?", "category": r"[^\t\r\n]*"}
# A value of a JSON list that has a plain TSV form: no tab, comma, quote or escape inside.
_JSON_VALUE = r'("[^"\\,\x00-\x1f]*"|-?[0-9]+|null)'


class Fields(NamedTuple):
    """The fields of b rows. A refused row has label 0 and all fields missing.

    Attributes:
      label: float32 [b], 0 or 1.
      integers: int64 [b, number of integer columns]; 0 where missing.
      missing: bool [b, number of integer columns].
      categories: string [b, number of category columns]; '' where missing.
      reason: int32 [b], an index into REASONS; 0 for a good row.
    """

    label: tf.Tensor
    integers: tf.Tensor
    missing: tf.Tensor
    categories: tf.Tensor
    reason: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Parse:
    """Splits messages into Fields.

    Attributes:
      schema: the columns in the order of the message.
      message_format: `tsv`: tab separated, no quoting; `json`: a list of the values as strings, whole numbers or null, as the
        replaced system's producer writes it. Values with a comma or an escape inside have no vectorised form and are refused.
      labelled: whether messages have the label's field. If not, no message has it (who asks for a score does not know it), and all
        labels are 0. Never both in one: a message that is one field short may have no label or have lost its last field, and
        nothing in it says which.
    """

    schema: Schema
    message_format: str = "tsv"
    labelled: bool = True

    def __call__(self, message: tf.Tensor) -> Fields:
        """Parses `message`, string [b]."""
        if self.message_format == "json":
            message, no_row = self._json_to_tsv(message)
        else:
            no_row = tf.equal(message, "")  # where there is but one column, nothing else tells it from a missing value
        kinds = self._kinds
        # One pass over the whole row checks the number of fields, the label and all numbers.
        good = tf.strings.regex_full_match(message, "\t".join(_PATTERNS[kind] for kind in kinds)) & ~no_row
        default = "\t".join("0" if kind == "label" else "" for kind in kinds)
        # All good is the usual case, and then neither a copy nor the reasons cost anything.
        whole, reason = tf.cond(
            tf.reduce_all(good),
            lambda: (message, tf.zeros_like(message, tf.int32)),
            lambda: (tf.where(good, message, default), tf.where(good, 0, self._reasons(message, no_row))),
        )
        fields = tf.reshape(tf.strings.split(whole, "\t").flat_values, [-1, len(kinds)])
        number, categories = (tf.gather(fields, self._places(kind), axis=1) for kind in ("integer", "category"))
        missing = tf.equal(number, "")
        return Fields(
            label=self._label(fields),
            integers=tf.strings.to_number(tf.where(missing, "0", number), tf.int64),
            missing=missing,
            categories=categories,
            reason=reason,
        )

    @property
    def _kinds(self) -> list[str]:
        """The kinds of a message's fields, in their order."""
        return [c.kind for c in self.schema.columns if self.labelled or c.kind != "label"]

    def _places(self, kind: str) -> tf.Tensor:
        """Where the fields of a kind stand in a message, int32."""
        return tf.constant([i for i, k in enumerate(self._kinds) if k == kind], tf.int32)

    def _label(self, fields: tf.Tensor) -> tf.Tensor:
        if not self.labelled:
            return tf.zeros([tf.shape(fields)[0]])
        return tf.strings.to_number(fields[:, self._kinds.index("label")], tf.float32)

    def _reasons(self, message: tf.Tensor, no_row: tf.Tensor) -> tf.Tensor:
        """The first reason that fits each row, int32 [b]; only meaningful where the row is bad."""
        kinds = self._kinds
        any_fields = "\t".join([_PATTERNS["category"]] * len(kinds))
        label_fits = "\t".join(_PATTERNS["label" if k == "label" else "category"] for k in kinds)
        tests = [
            ("empty", tf.equal(message, "")),
            ("encoding", ~tf.strings.regex_full_match(message, "(?s).*")),  # RE2 matches no invalid UTF-8
            ("json", no_row),
            ("fields", ~tf.strings.regex_full_match(message, any_fields)),
            ("label", ~tf.strings.regex_full_match(message, label_fits)),
        ]
        reason = tf.fill(tf.shape(message), REASONS.index("number"))
        for name, holds in reversed(tests):
            reason = tf.where(holds, REASONS.index(name), reason)
        return reason

    def _json_to_tsv(self, message: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The rows as TSV, and whether a row is no plain JSON list (its message is then left as it was)."""
        plain = tf.strings.regex_full_match(message, rf"\s*\[\s*{_JSON_VALUE}(\s*,\s*{_JSON_VALUE})*\s*\]\s*")
        tsv = tf.strings.regex_replace(message, r"^\s*\[\s*|\s*\]\s*$", "")
        tsv = tf.strings.regex_replace(tsv, r"\s*,\s*", "\t")
        tsv = tf.strings.regex_replace(tsv, r"(^|\t)null", r"\1")
        tsv = tf.strings.regex_replace(tsv, '"', "")
        return tf.where(plain, tsv, message), ~plain
