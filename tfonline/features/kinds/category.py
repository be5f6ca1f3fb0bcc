"""Texts of which the dictionaries know the frequent ones. Imports no TensorFlow until it parses; the ops are in category_ops.py."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import pydantic

from tfonline.features.column import ANY_TEXT, Texts, ValueColumn

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from tfonline.features.dictionaries import Dictionaries
    from tfonline.features.kinds import Options
    from tfonline.features.kinds.category_keys import CategoryKeys
    from tfonline.features.kinds.category_ops import CategoryOp
    from tfonline.features.kinds.hashed_categories import SomeHashed

_TEXTS = Texts(ANY_TEXT, "", "0", "any text without a tab or a line end")


class Hashed(NamedTuple):
    """The texts of b rows of k columns, of which only the hash is looked at.

    Attributes:
      number: int64 [b, k], hashes.hash_text of each; that of '' where missing. Another text has it with probability 2^-63.
    """

    number: "tf.Tensor"

    @property
    def missing(self) -> "tf.Tensor":
        """bool [b, k], which are missing."""
        return self.number == hashed("").number


def hashed(text: "tf.Tensor") -> Hashed:
    """Texts of any shape, '' where missing."""
    from tfonline.features.hashes import hash_text

    return Hashed(hash_text(text))


class CategoryColumn(ValueColumn):
    """A column of kind category.

    Attributes:
      hash_buckets: its values share so many ids of its own by their hash, and neither the dictionaries nor a vocabulary that grows
        has any of them; 0: they do.
    """

    kind: Literal["category"] = "category"
    hash_buckets: Annotated[int, pydantic.Field(ge=0, le=2**30)] = 0


class Category:
    """See FeatureKind."""

    name, is_feature, column = "category", True, CategoryColumn
    reason, numbers = "", ""
    served_dtype, served_missing = "string", ""

    def texts(self, column: CategoryColumn) -> Texts:
        """See Kind."""
        return _TEXTS

    def dictionary(self, column: CategoryColumn) -> str:
        """See Kind."""
        return "" if column.hash_buckets else "values"

    def parse(self, text: "tf.Tensor", columns: "Sequence[CategoryColumn]") -> Hashed:
        """See Kind."""
        return hashed(text)

    def parse_served(self, given: "tf.Tensor", columns: "Sequence[CategoryColumn]") -> "tuple[Hashed, tf.Tensor]":
        """See FeatureKind. Every text is taken."""
        import tensorflow as tf

        return self.parse(given, columns), tf.fill(tf.shape(given), True)

    def compared(self, values: Hashed, columns: "Sequence[CategoryColumn]") -> "np.ndarray":
        """See FeatureKind."""
        import numpy as np

        return np.where(values.missing.numpy(), -1, values.number.numpy())

    def make_op(
        self, columns: "Sequence[CategoryColumn]", dictionaries: "Dictionaries", first_id: int, options: "Options"
    ) -> "CategoryOp | CategoryKeys | SomeHashed":
        """See FeatureKind."""
        from tfonline.features.kinds.category_keys import CategoryKeys
        from tfonline.features.kinds.category_ops import CategoryLookup, CategoryOp
        from tfonline.features.kinds.hashed_categories import SomeHashed

        names = [column.name for column in columns if not column.hash_buckets]
        if options.growing:
            missing = [dictionaries.cat2id[f"OOV{name}"] for name in names]
            op = CategoryKeys(names, missing, options.oov_buckets, first_id)
        else:
            op = CategoryOp(CategoryLookup(dictionaries, names, options.oov_buckets, first_id), names, options.oov_buckets)
        return SomeHashed(op, columns, first_id + op.num_ids) if len(names) < len(columns) else op
