"""What a step of several workers sends, reckoned from the flags and the rows: the formulas of docs/scaling.md."""

from typing import NamedTuple

_FLOAT_BYTES, _ID_BYTES, _NUMBER_BYTES = 4, 4, 8
_OF_A_ROUND = 19  # whole numbers that workers add up before each step (cluster/rounds.py)


class Model(NamedTuple):
    """What decides how many bytes are sent.

    Attributes:
      dense: numbers of the dense layers.
      width: of an embedding; beside it there is one weight of the wide side.
      observed: numbers a row that all workers see of all rows, for what they count: ids with --history, and pairs.
    """

    dense: int
    width: int
    observed: int


def sent(model: Model, workers: int, rows: int, distinct: float) -> dict[str, float]:
    """Bytes that each worker sends a step, by what they are.

    Args:
      model: see there.
      workers: n.
      rows: of a worker's part of the batch.
      distinct: ids in them.
    """
    summed = 2 * (workers - 1) / workers  # a ring adds up parts of 1 / n on the way around, and then passes them on
    passed_on = workers - 1  # a ring passes each worker's rows on to all others
    # Two tables: a row of each, and its id with each.
    row = _FLOAT_BYTES * (model.width + 1) + 2 * _ID_BYTES
    return {
        "dense": summed * _FLOAT_BYTES * (model.dense + 1),  # with the loss
        "tables": passed_on * distinct * row,
        "observed": passed_on * rows * _ID_BYTES * model.observed,
        # Label, weight and whether there is a row, and the scores.
        "agreement": passed_on * rows * 4 * _FLOAT_BYTES + summed * _OF_A_ROUND * _NUMBER_BYTES,
    }
