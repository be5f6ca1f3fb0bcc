"""What waits for its other half, in memory and in the file."""

import random
import sqlite3

import pytest

from tfonline.stream.labels import held
from tfonline.stream.labels.held import Entry, Held


class Plain:
    """The same by a list."""

    def __init__(self):
        self.all = []

    def add(self, partition, entries):
        self.all += entries

    def find(self, key):
        return sorted(entry for k, entry in self.all if k == key)

    def drop_below(self, offsets):
        self.all = [(k, e) for k, e in self.all if e.partition >= len(offsets) or e.offset >= offsets[e.partition]]


@pytest.mark.parametrize("most", [0, 1, 7, 30, 10_000])
@pytest.mark.parametrize("seed", range(6))
def test_memory_and_file_hold_what_a_list_would(most, seed, tmp_path):
    draw, plain, kept = random.Random(seed), Plain(), Held(most, tmp_path / "held")
    keys, next_offset, low = [b"k%d" % n for n in range(12)] + [b"", b"\x00\xff"], [0, 0, 0], [0, 0, 0]
    for _ in range(60):
        partition = draw.randrange(3)
        entries = []
        for _ in range(draw.choice([0, 1, 5, 20])):
            next_offset[partition] += draw.choice([1, 1, 3])
            entries.append((draw.choice(keys), Entry(partition, next_offset[partition], draw.randrange(1000), b"m%d" % partition)))
        plain.add(partition, entries)
        kept.add(partition, iter(entries))
        if draw.random() < 0.4:
            low = [draw.randint(a, max(a, b)) for a, b in zip(low, next_offset, strict=True)]
            some = low[: draw.randint(1, 3)]
            plain.drop_below(some)
            kept.drop_below(some)
        wanted = [draw.choice(keys) for _ in range(5)] + [b"nobody"]
        assert [sorted(found or []) for found in kept.find(wanted)] == [plain.find(key) for key in wanted]
        assert kept.find([b"nobody"]) == [None]
        assert len(kept) == len(plain.all)
        assert kept.in_file >= len(kept) - most
    kept.close()
    assert list(tmp_path.iterdir()) == []


def test_a_key_may_be_asked_for_any_number_of_times_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(held, "_KEYS_AT_ONCE", 2)
    kept = Held(0, tmp_path / "held")
    kept.add(0, [(b"a", Entry(0, 1, 5)), (b"b", Entry(0, 2, 5)), (b"a", Entry(0, 3, 5))])
    of_a, of_b = [Entry(0, 1, 5), Entry(0, 3, 5)], [Entry(0, 2, 5)]
    assert kept.find([b"a", b"b", b"c", b"a", b"a"]) == [of_a, of_b, None, of_a, of_a]
    kept.close()


def test_the_file_goes_though_another_thread_is_at_work_on_it(tmp_path):
    kept = Held(0, tmp_path / "held")
    kept.remove()  # nothing is there so far
    kept.add(0, [(b"a", Entry(0, 1, 5))])
    kept.remove()
    assert list(tmp_path.iterdir()) == []
    kept.add(0, [(b"a", Entry(0, 2, 5))])
    assert kept.find([b"a"]) == [[Entry(0, 1, 5), Entry(0, 2, 5)]]
    kept.close()


def test_no_key_finds_nothing(tmp_path):
    for most in (0, 10):
        kept = Held(most, tmp_path / "held")
        kept.add(0, [(b"a", Entry(0, 1, 5))])
        assert kept.find([None, b"a"]) == [None, [Entry(0, 1, 5)]]
        kept.close()


def test_what_another_run_has_left_is_not_found(tmp_path):
    Held(0, tmp_path / "held").add(0, [(b"a", Entry(0, 1, 5))])  # killed
    assert (tmp_path / "held").exists()
    (tmp_path / "held-journal").write_bytes(b"torn")
    kept = Held(0, tmp_path / "held")
    assert list(tmp_path.iterdir()) == []
    kept.add(0, [(b"b", Entry(0, 7, 5))])
    assert kept.find([b"a", b"b"]) == [None, [Entry(0, 7, 5)]]
    kept.close()


def test_there_is_no_file_while_memory_is_enough(tmp_path):
    kept = Held(2, tmp_path / "held")
    kept.add(0, [(b"a", Entry(0, 1, 5)), (b"a", Entry(0, 2, 5))])
    assert list(tmp_path.iterdir()) == []
    kept.add(0, [(b"a", Entry(0, 3, 5))])
    assert (kept.in_file, len(kept)) == (1, 3)
    kept.drop_below([3])
    kept.add(0, [(b"a", Entry(0, 4, 5))])  # there is room again
    assert (kept.in_file, len(kept)) == (1, 2)
    assert sorted(kept.find([b"a"])[0]) == [Entry(0, 3, 5), Entry(0, 4, 5)]
    kept.close()


def test_one_key_of_all_rows_is_dropped_in_no_more_time_than_many_keys(tmp_path):
    """By steps, not by a clock: each drop looks at the first of a key's entries, not at all of them."""

    class Counted(int):
        looks = 0

        def __eq__(self, other):
            Counted.looks += 1
            return int(self) == int(other)

        __hash__ = int.__hash__

    kept = Held(10_000, tmp_path / "held")
    kept.add(0, [(b"-", Entry(0, Counted(o), 5)) for o in range(3000)])
    kept.drop_below([2000])
    assert (len(kept), Counted.looks <= 4000) == (1000, True)


def test_a_full_disk_is_said_as_one(tmp_path):
    kept = Held(0, tmp_path / "held")
    kept.add(0, [(b"a", Entry(0, 0, 5))])
    kept._file.execute("pragma max_page_count = 8")
    with pytest.raises(OSError, match="No space left on device") as e:
        kept.add(0, [(b"%d" % o, Entry(0, o, 5, b"x" * 1000)) for o in range(1, 1000)])
    assert e.value.filename == str(tmp_path / "held")


def test_what_is_no_fault_of_the_disk_stays_what_it_is(tmp_path):
    kept = Held(0, tmp_path / "held")
    kept.add(0, [(b"a", Entry(0, 0, 5))])
    kept._file.execute("drop table held")
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        kept.find([b"a"])
