"""Whether a value has a row in the vocabulary of a checkpoint, for inspect_checkpoint.py --id."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfonline.features.kinds import dictionary_of
from tfonline.flags import wrong
from tfonline.keep.contract import schema_of

_VARIABLE = "learner/{}/.ATTRIBUTES/VARIABLE_VALUE"


def describe_id(
    value: str, contract: Mapping[str, Any], settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """What the vocabulary knows of a value.

    Args:
      value: `<column>=<value>`, such as C3=05db9164.
      contract: of the checkpoint.
      settings: the flags of the last run.
      tensors: the checkpoint's.

    Returns:
      plain data: `row`, whether the value has one of its own. Of a value with a row: its `id`, `since` and `last`, rows of the
      stream, and `times`, how often it was seen. Of one without: `buckets`, the ids of which it shares one, `counted` and
      `admitted_at`.

    Raises:
      UserError: it is no value of a category, or the model has no vocabulary (exit 64).
    """
    import tensorflow as tf

    from tfonline.features.hashes import hash_text
    from tfonline.features.kinds.category_keys import salts_of
    from tfonline.model.tables.admission import counters_of
    from tfonline.model.tables.vocabulary import WAYS, sets_of

    column, equals, text = value.partition("=")
    rows = contract.get("vocabulary_rows", 0)
    if not rows:
        raise wrong(f"--id={value}: this model has no vocabulary that grows (--vocabulary_rows); its ids are in the dictionaries.")
    of_column = _whose_ids(contract)
    if not equals or column not in of_column or not text:
        raise wrong(
            f"--id={value} is no value with a row. Expected <column>=<value>, with one of the columns {', '.join(of_column)}."
        )
    key = int(hash_text(tf.constant(text)).numpy()) + salts_of([of_column[column]])[0]
    key = np.array([(key + 2**63) % 2**64 - 2**63], np.int64)
    table, first_id = tensors[_VARIABLE.format("model/vocabulary/keys")], contract["vocab_size"] - rows
    (of_set,) = sets_of(key, len(table))
    ways = np.flatnonzero(table[of_set] == key[0])
    of_place = {name: tensors[_VARIABLE.format(f"admission/{name}")] for name in ("since", "seen", "hits", "misses")}
    if len(ways):
        place = of_set * WAYS + ways[0]
        return {
            "id": int(first_id + place),
            "row": True,
            "since": int(of_place["since"][place]),
            "last": int(of_place["seen"][place]),
            "times": int(of_place["hits"][place]),
        }
    counter = counters_of(tf.constant(key), len(of_place["misses"])).numpy()[0]
    return {
        "row": False,
        "buckets": contract["oov_buckets"],
        "counted": float(of_place["misses"][counter]),
        "admitted_at": settings.get("admit_after"),
    }


def _whose_ids(contract: Mapping[str, Any]) -> dict[str, str]:
    """By each column whose values may have rows the column that says their keys: itself, or the one whose ids a list shares."""
    columns = schema_of(contract, "").columns
    plain = [c.name for c in columns if c.kind in ("category", "categories") and dictionary_of(c) == "values"]
    shared = {c.name: c.shares for c in columns if c.kind == "categories" and c.shares in plain}
    return {name: name for name in plain} | shared


def in_words(value: str, about: Mapping[str, Any]) -> str:
    """The same as a sentence."""
    if about["row"]:
        times = f"{about['times']:,} times" if about["times"] != 1 else "once"
        return (
            f"{value} has a row of its own, id {about['id']:,}, since row {about['since']:,} of the stream; it was seen {times}, "
            f"last in row {about['last']:,}"
        )
    return (
        f"{value} has no row of its own, and shares one of {about['buckets']:,} ids with others; its counter stands at "
        f"{about['counted']:g}, and it would get a row at --admit_after={about['admitted_at']}"
    )
