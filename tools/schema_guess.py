"""Which column of a stream may be the label, and the others' kinds, from what a sample says of each. For tools/schema.py."""

import dataclasses
import datetime
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from schema_evidence import Evidence

# What people call a label, likeliest first; is_, has_ and was_ may stand before it, and any words.
_LABELS = (
    "label", "click", "clicked", "target", "y", "conversion", "converted", "attributed", "purchase", "purchased", "buy", "bought",
    "install", "installed",
)  # fmt: skip
_EVENTS = ("event", "action", "behavior", "behaviour", "outcome", "result", "response", "type")
_POSITIVES = (*_LABELS[:2], "clicked", *_LABELS[5:], "like", "yes", "positive", "pos", "success", "1", "true")
_TRUTHS = ({"0", "1"}, {"true", "false"})
_TRUTHS_WITH_A_POINT = {"0.0", "1.0"}  # as Avro and Protobuf have them in a double

# Words that end the name of something that is told apart and not measured.
_IDS = (
    "id", "ids", "ip", "zip", "code", "type", "version", "hash", "uuid", "guid", "key", "app", "os", "device", "channel", "site",
    "domain", "campaign", "advertiser", "publisher", "brand", "model", "city", "region", "country", "lang", "language", "gender",
    "category", "cat", "class", "group", "segment", "slot", "position", "placement", "browser", "carrier", "user", "item", "ad",
)  # fmt: skip
_WEIGHTS = ("weight", "sample_weight", "row_weight", "importance_weight")
_MOMENTS = ("hour", "time", "timestamp", "date", "day", "ts", "dt", "at", "moment")
# Seconds since 1970 of 2001-09-09 and 2033-05-18, between which the events of a stream are.
_EPOCHS = (1_000_000_000, 2_000_000_000)
_MOST_SECS_OF_A_STREAM = 5 * 365 * 86_400
_UNITS = {"s": 1, "ms": 1000, "us": 1_000_000}

_A_VALUE_A_ROW = 0.9  # of the rows have a value of their own
_ENOUGH_VALUES = 100  # to say so
_MANY_NEW = 0.2  # of the later half's values are new: of most of them a dictionary knows nothing
_SEEN_OFTEN = 4  # values a distinct one, on average: below that a dictionary of them is hardly worth its ids
_FEW = 3  # different numbers: told apart, not measured
_LEAST_PAIRS = 3
_SMOOTH = 0.8  # the mean size of the logarithm of neighbours' ratio that an amount keeps below
_FALLING = 0.75  # of the pairs
_LONG_TAIL = 5  # the 99th percentile is so many times the median
_MOST_LENGTH = 1000


@dataclasses.dataclass(frozen=True)
class Guess:
    """What a column may be.

    Attributes:
      kind: of the YAML; '': none can be made of it, so that it is left out.
      options: what the YAML says beside name, path and kind.
      notes: why, and what a person should look at.
      doubtful: whether the values could as well be of another kind.
    """

    kind: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    doubtful: bool = False


def words_of(key: str) -> list[str]:
    """The words of the last part of a key, in small letters: `item.adId` has `ad` and `id`."""
    last = key.rsplit(".", 1)[-1]
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", last).lower().replace("-", "_").strip("_").split("_")


def likely_labels(columns: Mapping[str, Evidence], named: bool) -> list[tuple[str, tuple[str, ...]]]:
    """The columns that may be the label, likeliest first, and which of their texts are a 1; () where they are 0 and 1 themselves.

    Args:
      columns: what the sample says, by key.
      named: whether the keys are names. If not, the first column is the likeliest, then the last.
    """
    found = {key: positive for key, each in columns.items() if (positive := _positives(each)) is not None}
    if named:
        called = {key: rank for key in found if (rank := _rank(key)) is not None}
        # A text is a label only where it is called one; so is what is there on positive rows alone.
        others = [key for key in found if key not in called and not found[key]]
        in_order = sorted(called, key=lambda key: (called[key], len(words_of(key)))) or (others if len(others) == 1 else [])
    else:
        places = list(columns)
        plain = [key for key in found if not found[key]]
        in_order = sorted(plain, key=lambda key: {places[0]: 0, places[-1]: 1}.get(key, 2))
    return [(key, found[key]) for key in in_order]


def positives_of(column: Evidence) -> tuple[str, ...]:
    """Which texts of a column that somebody has said is the label are a 1: see likely_labels; where nothing tells, the rarest."""
    found = _positives(column)
    return found if found is not None else (column.top[-1][0],) if column.top else ()


def guess(column: Evidence, others_label: str = "", leak_auc: float = math.inf) -> Guess:
    """What a column that is not the label may be.

    Args:
      column: what the sample says of it.
      others_label: why it may be a label as well; '' where it may not.
      leak_auc: an AUC of the column alone above this says that it is known only with the label.
    """
    if column.holds_objects or "object" in column.types:
        return Guess("", notes=("it holds lists or objects inside a list, which no kind takes",))
    if not column.num_values:
        return Guess("" if column.is_list else "ignore", notes=("it is always missing",))
    if others_label:
        return Guess("ignore", notes=(f"{others_label}; as a feature it would tell the label",))
    if _is_weight(column):
        return Guess("weight", notes=("by its name: it would say how much a row counts; as a feature it is of kind number",))
    if column.auc is not None and column.auc > leak_auc:
        return Guess("" if column.is_list else "ignore", notes=(_leak(column),))
    found = _by_values(column)
    return dataclasses.replace(found, notes=(*found.notes, *_mixed(column)))


def _by_values(column: Evidence) -> Guess:
    if column.lengths:
        return _of_list(column)
    if column.distinct == 1 and not column.missing:
        return Guess("ignore", notes=("it has one value only",))
    if column.field.kind:
        return _of_type(column)
    if moment := _moment(column):
        return moment
    if column.all_fit("integer"):
        return _of_integers(column)
    if column.all_fit("number"):
        return Guess("number")
    return _of_texts(column)


def _of_type(column: Evidence) -> Guess:
    """Of a column whose kind its schema says."""
    match column.field.kind:
        case "ignore":
            return Guess("ignore", notes=("its values are days, of which each brings a new one",))
        case "time":
            return Guess("time", {"unit": column.field.unit})
        case "category":
            return Guess("category", _buckets(column), _newness(column))
    return Guess(column.field.kind)


def _is_weight(column: Evidence) -> bool:
    called_so = column.key.rsplit(".", 1)[-1].lower() in _WEIGHTS
    return called_so and column.all_fit("number") and column.low >= 0 and column.distinct > 1


def _of_list(column: Evidence) -> Guess:
    length = max(1, min(column.lengths[1], _MOST_LENGTH))
    return Guess("categories", {"max_length": length, "keep": "last", **_buckets(column)}, _newness(column))


def _moment(column: Evidence) -> Guess | None:
    if column.times or column.all_fit("iso"):
        return Guess("time", {"unit": "iso"})
    if not column.all_fit("integer") or words_of(column.key)[-1] in _IDS:  # ids may be as large as moments
        return None
    for unit, times in _UNITS.items():
        low, high = (bound * times for bound in _EPOCHS)
        if low <= column.low <= column.high < high and column.high - column.low < _MOST_SECS_OF_A_STREAM * times:
            return Guess("time", {"unit": unit})
    called_so = bool(set(words_of(column.key)) & set(_MOMENTS))
    if column.all_fit("yyyymmdd") and (column.distinct > _FEW or called_so):
        also = " They could be years, months, days and hours in two digits each, too: then it is of kind time, unit yymmddhh."
        return Guess(
            "ignore",
            notes=("its values look like dates (YYYYMMDD), of which each day brings new ones. "
                   f"A feature of them needs the producer's weekday.{also if column.all_fit('yymmddhh') else ''}",),
        )  # fmt: skip
    if column.all_fit("yymmddhh") and (column.distinct > _FEW or called_so):
        return Guess("time", {"unit": "yymmddhh"})
    return None


def _of_integers(column: Evidence) -> Guess:
    is_id = words_of(column.key)[-1] in _IDS
    if _a_value_a_row(column):
        if is_id or column.rising in (0.0, 1.0):
            return _of_a_row(column)
        return Guess("integer", notes=("nearly each row has a value of its own: if it tells rows apart, ignore it",), doubtful=True)
    if is_id or column.distinct <= _FEW:
        return _of_texts(column)
    if column.neighbours >= _LEAST_PAIRS:
        is_amount, doubtful = column.roughness < _SMOOTH or column.falling >= _FALLING, False
    else:
        is_amount, doubtful = column.tail > _LONG_TAIL * max(column.median, 1), True
    if is_amount:
        return Guess("integer", doubtful=doubtful)
    found = _of_texts(column)
    return dataclasses.replace(found, doubtful=found.kind == "category")


def _of_texts(column: Evidence) -> Guess:
    if _a_value_a_row(column):
        return _of_a_row(column)
    return Guess("category", _buckets(column), _newness(column))


def _of_a_row(column: Evidence) -> Guess:
    return Guess("ignore", notes=(f"{column.distinct:,} different values in {column.num_values:,} rows: an id of the row",))


def _a_value_a_row(column: Evidence) -> bool:
    return column.num_values > _ENOUGH_VALUES and column.distinct > _A_VALUE_A_ROW * column.num_values


def _buckets(column: Evidence) -> dict[str, int]:
    """For values of which most are seen but a few times: so many buckets that few of the sample's share one."""
    return {"hash_buckets": 2 ** max(10, math.ceil(math.log2(4 * column.distinct)))} if _is_scattered(column) else {}


def _newness(column: Evidence) -> tuple[str, ...]:
    if not _is_scattered(column):
        return ()
    return (f"{column.new:.0%} of the later half's values are new: hash_buckets rather than a dictionary",)


def _is_scattered(column: Evidence) -> bool:
    return column.new > _MANY_NEW and column.num_values < _SEEN_OFTEN * column.distinct


def _leak(column: Evidence) -> str:
    return (
        f"LEAK? alone it tells the label with AUC {column.auc:.3f}, on rows that it was not fitted on: it may be known only after "
        "the click. If it is known before, give it its kind."
    )


def _mixed(column: Evidence) -> tuple[str, ...]:
    notes = []
    if column.odd:
        counts = ", ".join(f"{number:,} of type {name}" for name, number in column.types.items())
        rows = "; ".join(f"{name} at {', '.join(places)}" for name, places in column.odd.items())
        notes.append(f"mixed types: {counts}; {rows}")
    for name in ("integer", "number"):
        fit = column.fits[name]
        if column.num_values > fit > 0.9 * column.num_values:
            notes.append(
                f"{fit:,} of {column.num_values:,} values are of kind {name}; as that kind, rows with the other "
                f"{column.num_values - fit:,} would be refused"
            )
            break
    return tuple(notes)


def _positives(column: Evidence) -> tuple[str, ...] | None:
    """() where the values are 0 and 1 in every row; None where nothing says what a 1 would be."""
    values = {text for text, _ in column.top}
    if column.is_list or not values or column.distinct > len(column.top):
        return None
    if values in _TRUTHS and not column.missing:
        return ()
    if values == _TRUTHS_WITH_A_POINT and not column.missing:
        return ("1.0",)
    positive = tuple(sorted(values & set(_POSITIVES)))
    return positive if positive and (len(values) > len(positive) or column.missing) else None


def _rank(key: str) -> int | None:
    """How likely a name is a label's: 0 for the likeliest, None for none."""
    words = words_of(key)
    if words[-1] in _LABELS:
        return _LABELS.index(words[-1])
    if words[0] in ("is", "has", "was") and len(words) > 1 and words[1] in _LABELS:
        return _LABELS.index(words[1])
    return len(_LABELS) if words[0] in _EVENTS else None


def moment_of(number: float, unit: str) -> str:
    """An epoch in words."""
    return datetime.datetime.fromtimestamp(number / _UNITS[unit], datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def names_for(keys: Sequence[str]) -> dict[str, str]:
    """A column name for each key, all different: letters, digits and _, a letter first."""
    found: dict[str, str] = {}
    for key in keys:
        name = re.sub(r"[^A-Za-z0-9_]+", "_", key).strip("_")
        name = name if re.match("[A-Za-z]", name) else f"c_{name}" if name else "c"
        taken, number = name, 2
        while taken in found.values():
            taken, number = f"{name}_{number}", number + 1
        found[key] = taken
    return found
