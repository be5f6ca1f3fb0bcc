"""How full a vocabulary is that grows with the stream, and how often it changes."""

from collections.abc import Callable

from tfonline.model.learner import Learner
from tfonline.model.tables.replicas import read_first
from tfonline.model.tables.vocabulary import rows_for
from tfonline.report.console import Console
from tfonline.report.writers import Scalars

# Above it, more and more sets are full: then a value loses its row, or gets none, though there are free ones elsewhere.
_FULL = 0.7


def make_vocabulary_scalars(learner: Learner, console: Console) -> Callable[[], Scalars]:
    """Gives what there is to tell, and warns once where the vocabulary is nearly full; nothing where there is none.

    - `vocabulary/rows_in_use`, and `vocabulary/load`, which is their share;
    - `vocabulary/admitted`: values that got a row, since the model's beginning; `vocabulary/reused`: of these, that got another's;
    - `vocabulary/refused`: how often a value was due for a row, and none was to be had.
    """
    if not learner.admission:
        return dict
    rows = learner.model.vocabulary.spec.rows

    def scalars() -> Scalars:
        in_use, admitted, reused, refused = (float(n) for n in read_first(learner.admission.tally).numpy())
        if in_use > _FULL * rows:
            console.warn_once(
                f"{in_use:,.0f} of {rows:,} rows of the vocabulary are in use. Values lose their rows, or get none, before "
                f"--expire_rows says so: use --vocabulary_rows={rows_for(int(in_use))}, for which "
                "tools/resize_vocabulary.py makes this model fit.",
                "vocabulary",
            )
        numbers = {"rows_in_use": in_use, "load": in_use / rows, "admitted": admitted, "reused": reused, "refused": refused}
        return {f"vocabulary/{name}": number for name, number in numbers.items()}

    return scalars
