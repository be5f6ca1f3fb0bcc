"""What the README and the documents beside it say of the program, held against the program."""

import re

from kafka_helpers import ROOT

from tfonline.formats.reasons import IN_WORDS, REASONS


def test_every_reason_is_explained():
    table = re.findall(r"^\| (\d+) \| (?:`(\w+)`)? ?\| \S", (ROOT / "docs" / "data.md").read_text(), re.MULTILINE)
    assert table == [(str(number), name) for number, name in enumerate(REASONS)]
    assert IN_WORDS.keys() == {*REASONS[1:]}  # what the server and its page say
