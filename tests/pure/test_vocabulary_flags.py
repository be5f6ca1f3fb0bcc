"""What the flags of a vocabulary that grows must be."""

import pytest

from tfonline.config import of_flags
from tfonline.lifecycle import UserError


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"vocabulary_rows": 1000}, "--vocabulary_rows=1000 is no power of 2 from 16 on. Use 1024"),
        ({"vocabulary_rows": 8}, "--vocabulary_rows=8 is no power of 2 from 16 on. Use 16"),
        ({"admit_counters": 3}, "--admit_counters=3 is no power of 2. Use 4."),
        ({"vocabulary_from": "dictionaries"}, "Set --vocabulary_rows, too."),
        ({"vocabulary_rows": 16}, "--vocabulary_rows=16 needs --oov_buckets"),
        ({"vocabulary_rows": 16, "oov_buckets": 4, "vocab_size": 99}, "--vocab_size=99: with --vocabulary_rows the number of ids"),
        ({"vocabulary_rows": 16, "oov_buckets": 4, "numeric": "log"}, "--numeric=log needs the columns' ranges"),
        ({"vocabulary_rows": 16, "oov_buckets": 4, "admit_after": 0}, "--admit_after=0"),
    ],
)
def test_a_wrong_vocabulary_is_said(flags, said):
    with pytest.raises(UserError) as e:
        of_flags(topic="t", **flags)
    assert said in str(e.value)
    assert e.value.code == 64


def test_ranges_of_dictionaries_let_numbers_be_scaled_beside_a_vocabulary():
    flags = {"vocabulary_rows": 16, "oov_buckets": 4, "numeric": "log", "vocabulary_from": "dictionaries"}
    assert of_flags(topic="t", **flags).vocabulary.vocabulary_rows == 16
