"""Lists of categories, such as the items looked at last. Imports no TensorFlow until it parses; the op is in categories_ops.py."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import pydantic

from tfonline.features.column import ANY_TEXT, Texts, ValueColumn
from tfonline.features.kinds.category import Category, CategoryColumn

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from tfonline.features.dictionaries import Dictionaries
    from tfonline.features.kinds import Options
    from tfonline.features.kinds.categories_ops import CategoriesOp

_TEXTS = Texts(ANY_TEXT, "", "0", "texts with the column's separator between them, without a tab or a line end")


class CategoriesColumn(ValueColumn):
    """A column of kind categories.

    Attributes:
      max_length: of a longer list so many values are features.
      keep: which of them: the first or the last.
      combiner: how their weights become one: their mean, their sum, or their sum over the square root of their number.
      shares: the column of kind category whose ids the values have; '': they have ids of their own.
      hash_buckets: as of a category.
      separator: one character that stands between the values where a message has a list as a text.
      along: a list of the same row whose values these stand beside, one by one, such as how long ago each was; '': none.
      log2: values are whole numbers, such as seconds, and each counts as the whole part of log2(1 + x); needs hash_buckets.
    """

    kind: Literal["categories"] = "categories"
    max_length: Annotated[int, pydantic.Field(ge=1, le=1000)] = 20
    keep: Literal["first", "last"] = "last"
    combiner: Literal["mean", "sum", "sqrtn"] = "mean"
    shares: str = ""
    hash_buckets: Annotated[int, pydantic.Field(ge=0, le=2**30)] = 0
    separator: Annotated[str, pydantic.Field(pattern=r"^[^\t\r\n\x00]$")] = "|"
    along: str = ""
    log2: bool = False

    @pydantic.model_validator(mode="after")
    def _check_ids(self) -> "CategoriesColumn":
        if self.shares and self.hash_buckets:
            raise ValueError(
                f"column {self.name} shares the ids of {self.shares}, which says how many there are: leave out hash_buckets"
            )
        if self.log2 and not self.hash_buckets:
            raise ValueError(f"column {self.name} has log2, whose values no dictionary holds: give it hash_buckets, such as 4096")
        return self


class Categories(Category):
    """See FeatureKind. Its typed values are the lists as texts, string [b, k]; '' where missing, which an empty list is, too.

    A list takes no part in crosses. Its values count in tools/process_data.py one by one.
    """

    name, column = "categories", CategoriesColumn

    def texts(self, column: CategoriesColumn) -> Texts:
        """See Kind."""
        return _TEXTS

    def dictionary(self, column: CategoriesColumn) -> str:
        """See Kind."""
        return "" if column.hash_buckets or column.shares else "values"

    def parse(self, text: "tf.Tensor", columns: "Sequence[CategoriesColumn]") -> "tf.Tensor":
        """See Kind."""
        return text

    def compared(self, values: "tf.Tensor", columns: "Sequence[CategoriesColumn]") -> "np.ndarray":
        """See FeatureKind. Of a list it is how many values it has."""
        import numpy as np

        separators = [column.separator.encode() for column in columns]
        lengths = [
            [len(list(filter(None, text.split(by)))) if text else np.nan for text, by in zip(row, separators, strict=True)]
            for row in values.numpy().tolist()
        ]
        return np.array(lengths, np.float64).reshape(-1, len(columns))

    def make_op(
        self, columns: "Sequence[CategoriesColumn]", dictionaries: "Dictionaries", first_id: int, options: "Options"
    ) -> "CategoriesOp":
        """See FeatureKind."""
        from tfonline.features.kinds.categories_ops import CategoriesOp

        own = [CategoryColumn(name=c.name, hash_buckets=c.hash_buckets) for c in columns if not c.shares]
        op = super().make_op(own, dictionaries, first_id, options) if own else None
        sources = [(options.made[Category.name] if c.shares else op).column(c.shares or c.name) for c in columns]
        return CategoriesOp(columns, sources, op)
