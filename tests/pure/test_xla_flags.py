"""What tfonline tells XLA before TensorFlow is imported, by TensorFlow's version."""

import pytest

from tfonline import xla_flags

COLLECTIVES, ALL_REDUCE = "--xla_gpu_enable_async_collectives", "--xla_gpu_enable_async_all_reduce"


@pytest.mark.parametrize("flags", ["", "--xla_dump_to=/tmp/x", "flags.txt"])
@pytest.mark.parametrize("tensorflow", ["2.21.0", "2.17.1", "3.0.0", ""])
def test_a_version_that_does_not_know_the_names_is_told_nothing(tensorflow, flags):
    assert xla_flags(tensorflow, flags) == flags


def test_tensorflow_2_16_is_told_both_beside_what_the_user_says():
    assert xla_flags("2.16.2", "") == f"{COLLECTIVES}=false {ALL_REDUCE}=false"
    assert xla_flags("2.16.1", "--xla_dump_to=x") == f"--xla_dump_to=x {COLLECTIVES}=false {ALL_REDUCE}=false"
    assert xla_flags("2.16.2", f"{ALL_REDUCE}=true") == f"{ALL_REDUCE}=true {COLLECTIVES}=false"


def test_a_file_of_flags_stays():
    assert xla_flags("2.16.2", "flags.txt") == "flags.txt"
