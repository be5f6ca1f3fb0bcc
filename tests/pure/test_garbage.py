"""When garbage is collected: not at first, and never what a run began with."""

import gc
import weakref

import pytest

from tfonline import garbage


class Cycle:
    def __init__(self):
        self.itself = self


def make_garbage():
    return weakref.ref(Cycle())


@pytest.fixture(autouse=True)
def as_before():
    yield
    gc.unfreeze()
    gc.enable()


def test_nothing_is_collected_until_it_is_time():
    with garbage.not_at_first():
        assert not gc.isenabled()
        early = make_garbage()
        for _ in range(3 * gc.get_threshold()[0]):
            make_garbage()
        assert early() is not None
        garbage.collect_from_now_on()
        assert early() is None
        assert gc.isenabled()


def test_what_stays_is_not_looked_at_until_the_end():
    with garbage.not_at_first():
        kept = Cycle()
        garbage.keep()
        seen, kept = weakref.ref(kept), None
        garbage.collect_from_now_on()
        assert seen() is not None
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert seen() is None


@pytest.mark.parametrize("enabled", [True, False])
def test_an_error_leaves_the_collector_as_it_was(enabled):
    (gc.enable if enabled else gc.disable)()
    with pytest.raises(ValueError, match="wrong"), garbage.not_at_first():
        raise ValueError("wrong")
    assert gc.isenabled() == enabled
    assert gc.get_freeze_count() == 0
