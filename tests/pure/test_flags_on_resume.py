"""The table of what a flag's change does on a resume, in docs/operations.md, against the code."""

import pathlib
import re

from tfonline import flags
from tfonline.config import Config
from tfonline.keep.contract import CONVERTED, ONLY_A_NEW_MODEL, REFUSED

DOCS = (pathlib.Path(__file__).parents[2] / "docs/operations.md").read_text()


def row(text):
    """The flags of the table's row that holds a text."""
    [line] = [line for line in DOCS.splitlines() if line.startswith("|") and text in line]
    return set(re.findall(r"`(\w+)`", line.split("|")[1]))


def test_each_flag_stands_where_the_code_has_it():
    assert row("is converted") == set(CONVERTED)
    assert row("is refused (78) where") == set(REFUSED)
    assert row("only a new one sees them") == set(ONLY_A_NEW_MODEL)


def test_each_is_a_flag_and_stands_once():
    named = [*CONVERTED, *REFUSED, *ONLY_A_NEW_MODEL, "average_rows", "replay"]
    assert len(set(named)) == len(named)
    assert set(named) <= set(flags.named(Config))
