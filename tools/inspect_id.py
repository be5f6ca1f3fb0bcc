"""Whether a value has a row in the vocabulary of a checkpoint, for inspect_checkpoint.py --id."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfonline.flags import wrong

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
      plain data: `id`; `row`, whether it is the value's own. Of a value with a row: `since` and `last`, rows of the stream, and
      `times`, how often it was seen. Of one without: `counted` and `admitted_at`.

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
    columns = [name for name, kind in zip(contract["columns"], contract["kinds"], strict=True) if kind == "category"]
    if not equals or column not in columns or not text:
        raise wrong(
            f"--id={value} is no value of a category. Expected <column>=<value>, with one of the columns {', '.join(columns)}."
        )
    key = int(hash_text(tf.constant(text)).numpy()) + salts_of([column])[0]
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
    buckets = contract["oov_buckets"]
    return {
        "id": int(first_id - buckets + key[0] % buckets),
        "row": False,
        "counted": float(of_place["misses"][counter]),
        "admitted_at": settings.get("admit_after"),
    }


def in_words(value: str, about: Mapping[str, Any]) -> str:
    """The same as a sentence."""
    if about["row"]:
        times = f"{about['times']:,} times" if about["times"] != 1 else "once"
        return (
            f"{value} has a row of its own, id {about['id']:,}, since row {about['since']:,} of the stream; it was seen {times}, "
            f"last in row {about['last']:,}"
        )
    return (
        f"{value} has no row of its own, and shares id {about['id']:,} with others; its counter stands at {about['counted']:g}, "
        f"and it would get a row at --admit_after={about['admitted_at']}"
    )
