"""What a network gets of a batch: its inputs by name. Imports no TensorFlow."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import tensorflow as tf


class Input(NamedTuple):
    """One input of a network, `[B, width]`.

    Attributes:
      width: numbers a row.
      dtype: `int32`, `int64` or `float32`; what is int32 comes as int64 on a GPU.
      padding: the value in a place without a row.
    """

    width: int
    dtype: str
    padding: float


class VocabularySpec(NamedTuple):
    """Ids that belong to values as the stream brings them, see model.tables.vocabulary. The input `keys` says which values.

    Attributes:
      rows: how many ids, a power of 2; they are the last ones.
      first_id: the first of them.
      first_field: of the fields that have keys; they are as many as `keys` is wide.
    """

    rows: int
    first_id: int
    first_field: int


class Inputs(NamedTuple):
    """What the columns of one kind give of b rows: F fields.

    Attributes:
      ids: int32 [b, F].
      values: float32 [b, F], by which an id's weights are multiplied.
      keys: int64 [b, F], unlike between fields: what crosses are made of.
      own: inputs that only this kind has, by name, [b, width] each.
    """

    ids: "tf.Tensor"
    values: "tf.Tensor"
    keys: "tf.Tensor"
    own: "dict[str, tf.Tensor]"


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a network has to know of the features.

    Attributes:
      inputs: by name; what they hold, Features says. `ids` and `values` are always there.
      num_ids: ids are 0 to num_ids - 1; num_ids itself is the padding.
      scaled_fields: of so many fields, the first, the id is the field's number, and the value any; of the others the value is 1.
        (Padding has its own id and value 0.) None: ids and values are any.
      heads: the label columns; a network gives logits for each.
      vocabulary: ids that belong to values as the stream brings them; None: all ids are known to the features. A network is given
        ids all the same, for Network.score and the learner look them up before.
    """

    inputs: dict[str, Input]
    num_ids: int
    scaled_fields: int | None
    heads: tuple[str, ...]
    vocabulary: VocabularySpec | None = None

    @classmethod
    def of(
        cls,
        num_ids: int,
        num_fields: int,
        own: Mapping[str, Input] | None = None,
        scaled_fields: int | None = None,
        cross_buckets: int = 0,
        heads: tuple[str, ...] = ("label",),
        vocabulary: VocabularySpec | None = None,
    ) -> "Spec":
        """The spec of what Features makes of F fields.

        Args:
          num_ids: as above.
          num_fields: F.
          own: the inputs that kinds of columns have beside ids and values; None: none.
          scaled_fields: as above.
          cross_buckets: in so many buckets are pairs of fields; 0: no input `crosses`, nor where a single field has no pairs.
          heads: as above.
          vocabulary: as above.
        """
        inputs = {"ids": Input(num_fields, "int32", num_ids), "values": Input(num_fields, "float32", 0.0)}
        inputs |= own or {}
        if cross_buckets and num_fields > 1:
            inputs["crosses"] = Input(num_fields * (num_fields - 1) // 2, "int32", cross_buckets)
        return cls(inputs, num_ids, scaled_fields, heads, vocabulary)

    @property
    def num_fields(self) -> int:
        """F, with an id each."""
        return self.inputs["ids"].width

    def width(self, name: str) -> int:
        """The numbers a row of the input of this name; 0 where there is none."""
        return self.inputs[name].width if name in self.inputs else 0

    @property
    def cross_buckets(self) -> int:
        """In so many buckets are pairs of columns; 0: there are none."""
        return int(self.inputs["crosses"].padding) if "crosses" in self.inputs else 0

    @property
    def padding(self) -> dict[str, float]:
        """An input's value in a place without a row, by its name."""
        return {name: entry.padding for name, entry in self.inputs.items()}
