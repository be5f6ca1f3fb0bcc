"""What a network gets of a batch: its inputs by name. Imports no TensorFlow."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
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
      spans: which places of `ids` have keys, from one on and up to another; together they are as many as `keys` is wide, in order.
    """

    rows: int
    first_id: int
    spans: tuple[tuple[int, int], ...]

    def keyed(self, ids: "tf.Tensor") -> "tf.Tensor":
        """Ids [B, P] to those of the places that have keys, [B, K]."""
        import tensorflow as tf

        return tf.concat([ids[:, first:past] for first, past in self.spans], axis=1)

    def with_keyed(self, ids: "tf.Tensor", keyed: "tf.Tensor") -> "tf.Tensor":
        """Ids [B, P] with others, [B, K], at the places that have keys."""
        import tensorflow as tf

        parts, behind, begin = [], 0, 0
        for first, past in self.spans:
            parts += [ids[:, behind:first], keyed[:, begin : begin + past - first]]
            behind, begin = past, begin + past - first
        return tf.concat([part for part in [*parts, ids[:, behind:]] if part.shape[1] != 0], axis=1)


class Attended(NamedTuple):
    """A list whose values have the ids of a column of the row, as those of the items looked at before have an item's.

    Attributes:
      places: of its values in `ids`, from one on and up to another; behind the last value stand paddings.
      candidate: the place of that column.
      along: the places of lists that stand beside it, value by value.
    """

    places: tuple[int, int]
    candidate: int
    along: tuple[tuple[int, int], ...] = ()


class Pairs(NamedTuple):
    """Which fields have pairs with which. The fields stand in a ring, the last beside the first.

    Attributes:
      num_fields: k.
      partners: an even number: each field has pairs with so many others, half of them on either side of it; 0, or k - 1 and more:
        with all.
      chosen: pairs (i, j) that are there besides, i < j in order; they may be among the others.
    """

    num_fields: int
    partners: int = 0
    chosen: tuple[tuple[int, int], ...] = ()

    @property
    def fields(self) -> "tuple[np.ndarray, np.ndarray]":
        """The fields i < j of each pair, int64 [W] each, in the order of i and then of j."""
        import numpy as np  # not above: it starts threads, which the trainer must not have before it blocks its signals

        left, right = np.triu_indices(self.num_fields, 1)
        there = self._near(left, right) | self._is_chosen(left, right)
        return left[there], right[there]

    @property
    def count(self) -> int:
        """W."""
        return len(self.fields[0])

    @property
    def width(self) -> int:
        """The numbers that `means` makes of a row: one a field, and a further one for each field with chosen pairs."""
        return self.num_fields + len({field for pair in self.chosen for field in pair})

    @property
    def means(self) -> "np.ndarray":
        """What makes of a number a pair the means of the fields, float32 [W, width]: over the ring, then over chosen pairs."""
        import numpy as np

        left, right = self.fields
        found = []
        for there in (self._near(left, right), self._is_chosen(left, right)):
            mean = np.zeros([len(left), self.num_fields], np.float32)
            for field in (left, right):
                mean[there, field[there]] = 1
            found.append(mean)
        ring, chosen = found
        both = np.concatenate([ring, chosen[:, chosen.any(axis=0)]], axis=1)
        return both / np.maximum(both.sum(axis=0), 1)

    def _near(self, left: "np.ndarray", right: "np.ndarray") -> "np.ndarray":
        """Which pairs are of the ring, bool [W]."""
        import numpy as np

        apart = np.minimum(right - left, self.num_fields - (right - left))
        return 2 * apart <= (self.partners or self.num_fields)

    def _is_chosen(self, left: "np.ndarray", right: "np.ndarray") -> "np.ndarray":
        """Which pairs are chosen, bool [W]."""
        import numpy as np

        chosen = np.array(self.chosen, np.int64).reshape(-1, 2)
        return np.isin(left * self.num_fields + right, chosen[:, 0] * self.num_fields + chosen[:, 1])


class Inputs(NamedTuple):
    """What the columns of one kind give of b rows: F fields, and P places for ids, which are more where fields are lists.

    Attributes:
      ids: int32 [b, P]; -1 at a place of a list that holds nothing.
      values: float32 [b, P], by which an id's weights are multiplied.
      keys: int64 [b, F], unlike between fields: what crosses are made of. Lists have none.
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
      lists: the last fields have so many places each; all others have one.
      attended: those of the lists whose values have the ids of a column of the row.
      pairs: those of `crosses`; None where there is no such input.
      vocabulary: ids that belong to values as the stream brings them; None: all ids are known to the features. A network is given
        ids all the same, for Network.score and the learner look them up before.
    """

    inputs: dict[str, Input]
    num_ids: int
    scaled_fields: int | None
    heads: tuple[str, ...]
    vocabulary: VocabularySpec | None = None
    lists: tuple[int, ...] = ()
    attended: tuple[Attended, ...] = ()
    pairs: Pairs | None = None

    @classmethod
    def of(
        cls,
        num_ids: int,
        num_fields: int,
        own: Mapping[str, Input] | None = None,
        scaled_fields: int | None = None,
        cross_buckets: int = 0,
        most_crossed: int = 64,
        cross_partners: int = 0,
        cross_pairs: tuple[tuple[int, int], ...] = (),
        heads: tuple[str, ...] = ("label",),
        vocabulary: VocabularySpec | None = None,
        lists: tuple[int, ...] = (),
        attended: tuple[Attended, ...] = (),
    ) -> "Spec":
        """The spec of what Features makes of F fields.

        Args:
          num_ids: as above.
          num_fields: F.
          own: the inputs that kinds of columns have beside ids and values; None: none.
          scaled_fields: as above.
          cross_buckets: in so many buckets are pairs of fields that are no lists; 0: no input `crosses`, nor where a single such
            field has no pairs.
          most_crossed: so many fields have pairs at most.
          cross_partners: see Pairs.
          cross_pairs: the chosen ones, see Pairs.
          heads: as above.
          vocabulary: as above.
          lists: as above.
          attended: as above.
        """
        single = num_fields - len(lists)
        num_places = single + sum(lists)
        inputs = {"ids": Input(num_places, "int32", num_ids), "values": Input(num_places, "float32", 0.0)}
        inputs |= own or {}
        crossed = min(single, most_crossed)
        pairs = Pairs(crossed, cross_partners, cross_pairs) if cross_buckets and crossed > 1 else None
        if pairs:
            inputs["crosses"] = Input(pairs.count, "int32", cross_buckets)
        return cls(inputs, num_ids, scaled_fields, heads, vocabulary, lists, attended, pairs)

    @property
    def num_fields(self) -> int:
        """F, a column or a part of one each."""
        return self.num_single + len(self.lists)

    @property
    def num_single(self) -> int:
        """The fields that are no lists: the first ones, with an id each."""
        return self.inputs["ids"].width - sum(self.lists)

    @property
    def list_places(self) -> tuple[slice, ...]:
        """Which places of `ids` each of the lists has, in order."""
        ends = itertools.accumulate(self.lists, initial=self.num_single)
        return tuple(slice(first, past) for first, past in itertools.pairwise(ends))

    def by_field(self, places: "tf.Tensor") -> "tf.Tensor":
        """Rows of places, each times its value, to those of fields: of a list the sum. [B, P, width] to [B, F, width].

        The first places may be left out, and so are their fields.
        """
        import tensorflow as tf

        if not self.lists:
            return places
        parts = tf.split(places, [places.shape[1] - sum(self.lists), *self.lists], axis=1)
        return tf.concat([parts[0], *(tf.reduce_sum(part, axis=1, keepdims=True) for part in parts[1:])], axis=1)

    def width(self, name: str) -> int:
        """The numbers a row of the input of this name; 0 where there is none."""
        return self.inputs[name].width if name in self.inputs else 0

    @property
    def cross_buckets(self) -> int:
        """In so many buckets are pairs of columns; 0: there are none."""
        return int(self.inputs["crosses"].padding) if "crosses" in self.inputs else 0

    @property
    def num_crossed(self) -> int:
        """The fields that have pairs, k."""
        return self.pairs.num_fields if self.pairs else 0

    @property
    def num_lifts(self) -> int:
        """What the pasts of pairs say of a row, numbers a label."""
        return self.pairs.width if self.pairs else 0

    @property
    def padding(self) -> dict[str, float]:
        """An input's value in a place without a row, by its name."""
        return {name: entry.padding for name, entry in self.inputs.items()}
