"""When garbage is collected: not at first, and never what a run began with."""

import gc
import os
import pathlib
import re
import subprocess
import sys
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
    gc.unfreeze()
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


def resident_mb():
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1000


def test_free_memory_goes_back_to_the_system_though_what_was_made_last_stays():
    blocks = [bytes([i % 256]) * 100_000 for i in range(4000)]
    last = blocks.pop()
    seen, held = make_garbage(), resident_mb()
    del blocks
    kept = resident_mb()
    garbage.give_back()
    assert seen() is None
    assert kept > held - 100  # the C library has it, as its last block is in use
    assert resident_mb() < held - 300
    assert len(last) == 100_000


THREADS_AND_SHARES = """
import ctypes, sys, threading
from tfonline import garbage
getattr(garbage, sys.argv[1])()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes, libc.fclose.argtypes = [ctypes.c_int, ctypes.c_void_p], [ctypes.c_void_p]
together = threading.Barrier(8)
def work():
    together.wait()
    libc.malloc(10_000)
    together.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
file = libc.fopen(sys.argv[2].encode(), b"w")
libc.malloc_info(0, file)
libc.fclose(file)
"""


CASES = [("few_shares", {}, 1, 2), ("give_back", {}, 3, 99), ("few_shares", {"MALLOC_ARENA_MAX": "4"}, 3, 4)]


@pytest.mark.parametrize(("call", "said", "fewest", "most"), CASES)
def test_threads_have_two_shares_of_memory_where_nobody_has_said_otherwise(tmp_path, call, said, fewest, most):
    path = tmp_path / "memory.xml"
    environment = {name: value for name, value in os.environ.items() if name not in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")}
    command = [sys.executable, "-c", THREADS_AND_SHARES, call, str(path)]
    subprocess.run(command, check=True, env={**environment, **said}, cwd=pathlib.Path(__file__).parents[2])
    assert fewest <= path.read_text().count("<heap nr=") <= most


def test_what_the_caller_has_put_aside_stays_there():
    gc.freeze()
    count = gc.get_freeze_count()
    with garbage.not_at_first():
        garbage.collect_from_now_on()
    assert gc.get_freeze_count() >= count
