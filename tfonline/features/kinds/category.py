"""Texts of which the dictionaries know the frequent ones. Imports no TensorFlow until it parses; the ops are in category_ops.py."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from tfonline.features.column import ANY_TEXT, Texts, ValueColumn

if TYPE_CHECKING:
    import tensorflow as tf

    from tfonline.features.dictionaries import Dictionaries
    from tfonline.features.kinds import Options
    from tfonline.features.kinds.category_keys import CategoryKeys
    from tfonline.features.kinds.category_ops import CategoryOp

_TEXTS = Texts(ANY_TEXT, "", "0", "any text without a tab or a line end")


class CategoryColumn(ValueColumn):
    """A column of kind category."""

    kind: Literal["category"] = "category"


class Category:
    """See FeatureKind. Its typed values are the texts themselves, string [b, k]; '' where missing."""

    name, is_feature, column = "category", True, CategoryColumn
    reason = ""
    served_dtype, served_missing = "string", ""

    def texts(self, column: CategoryColumn) -> Texts:
        """See Kind."""
        return _TEXTS

    def dictionary(self, column: CategoryColumn) -> str:
        """See Kind."""
        return "values"

    def parse(self, text: "tf.Tensor", columns: "Sequence[CategoryColumn]") -> "tf.Tensor":
        """See Kind."""
        return text

    def parse_served(self, given: "tf.Tensor", columns: "Sequence[CategoryColumn]") -> "tuple[tf.Tensor, tf.Tensor]":
        """See FeatureKind. Every text is taken."""
        import tensorflow as tf

        return given, tf.fill(tf.shape(given), True)

    def make_op(
        self, columns: "Sequence[CategoryColumn]", dictionaries: "Dictionaries", first_id: int, options: "Options"
    ) -> "CategoryOp | CategoryKeys":
        """See FeatureKind."""
        from tfonline.features.kinds.category_keys import CategoryKeys
        from tfonline.features.kinds.category_ops import CategoryLookup, CategoryOp

        names = [column.name for column in columns]
        if options.growing:
            return CategoryKeys(names, [dictionaries.cat2id[f"OOV{name}"] for name in names], options.oov_buckets, first_id)
        return CategoryOp(CategoryLookup(dictionaries, names, options.oov_buckets, first_id), len(names), options.oov_buckets)
