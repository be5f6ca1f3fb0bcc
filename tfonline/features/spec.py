"""What a network gets of a batch: its inputs by name. Imports no TensorFlow."""

import dataclasses
from typing import NamedTuple


class Input(NamedTuple):
    """One input of a network, `[B, width]`.

    Attributes:
      width: numbers a row.
      dtype: `int32` or `float32`; what is int32 comes as int64 on a GPU.
      padding: the value in a place without a row.
    """

    width: int
    dtype: str
    padding: float


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a network has to know of the features.

    Attributes:
      inputs: by name; what they hold, Features says. `ids` and `values` are always there.
      num_ids: ids are 0 to num_ids - 1; num_ids itself is the padding.
      scaled_fields: of so many fields, the first, the id is the field's number, and the value any; of the others the value is 1.
        (Padding has its own id and value 0.) None: ids and values are any.
      heads: the label columns; a network gives logits for each.
    """

    inputs: dict[str, Input]
    num_ids: int
    scaled_fields: int | None
    heads: tuple[str, ...]

    @classmethod
    def of(
        cls,
        num_ids: int,
        num_fields: int,
        num_numeric: int = 0,
        scaled_fields: int | None = None,
        cross_buckets: int = 0,
        heads: tuple[str, ...] = ("label",),
    ) -> "Spec":
        """The spec of what Features makes of F fields.

        Args:
          num_ids: as above.
          num_fields: F, the columns.
          num_numeric: N, the numbers beside the ids; 0: no input `numeric`.
          scaled_fields: as above.
          cross_buckets: in so many buckets are pairs of columns; 0: no input `crosses`, nor where a single column has no pairs.
          heads: as above.
        """
        inputs = {"ids": Input(num_fields, "int32", num_ids), "values": Input(num_fields, "float32", 0.0)}
        if num_numeric:
            inputs["numeric"] = Input(num_numeric, "float32", float("nan"))
        if cross_buckets and num_fields > 1:
            inputs["crosses"] = Input(num_fields * (num_fields - 1) // 2, "int32", cross_buckets)
        return cls(inputs, num_ids, scaled_fields, heads)

    @property
    def num_fields(self) -> int:
        """F, the columns, with an id each."""
        return self.inputs["ids"].width

    @property
    def num_numeric(self) -> int:
        """N, the numbers beside the ids."""
        return self.inputs["numeric"].width if "numeric" in self.inputs else 0

    @property
    def cross_buckets(self) -> int:
        """In so many buckets are pairs of columns; 0: there are none."""
        return int(self.inputs["crosses"].padding) if "crosses" in self.inputs else 0

    @property
    def padding(self) -> dict[str, float]:
        """An input's value in a place without a row, by its name."""
        return {name: entry.padding for name, entry in self.inputs.items()}
