"""Scores of first sight: in files, until the labels of their rows are settled."""

import numpy as np
import pytest

from tfonline.evaluate.first_sights import FirstSights


def add(sights, partition, offsets, labels=0, shift=0.0):
    """Rows whose logit is their offset, and something."""
    offsets = np.asarray(offsets, np.int64)
    partitions = np.full(len(offsets), partition, np.int32)
    sights.add(partitions, offsets, (offsets + shift).astype(np.float32), np.broadcast_to(np.float32(labels), len(offsets)))


def mark(sights, partition, offsets):
    return sights.mark(np.full(len(offsets), partition, np.int32), np.asarray(offsets, np.int64)).tolist()


def taken(sights, *of):
    return [x.tolist() for x in sights.take(*of)]


@pytest.fixture
def sights(tmp_path):
    return FirstSights(tmp_path / "sights", rows_of_a_file=10)


@pytest.mark.parametrize("bounds", [(0, 40), (0, 10), (9, 11), (10, 20), (5, 5), (19, 20), (29, 40), (35, 40)])
def test_rows_are_taken_from_any_offset_to_any_other(sights, bounds):
    offsets = [0, 1, 8, 9, 10, 11, 19, 20, 29]  # some offsets hold no row
    add(sights, 1, offsets)
    mark(sights, 1, [9, 10, 29])
    wanted = [o for o in offsets if bounds[0] <= o < bounds[1]]
    assert taken(sights, 1, *bounds) == [wanted, [float(o in (9, 10, 29)) for o in wanted]]


def test_a_batch_of_several_partitions_and_files_goes_where_it_belongs(sights):
    partition, offset = np.array([0, 2, 0, 2, 0], np.int32), np.array([3, 3, 12, 25, 9])
    logits, labels = np.arange(5, dtype=np.float32), np.array([0, 1, 0, 0, 1], np.float32)
    sights.add(partition, offset, logits, labels)
    assert taken(sights, 0, 0, 20) == [[0, 4, 2], [0, 1, 0]]
    assert taken(sights, 2, 0, 30) == [[1, 3], [1, 0]]
    assert taken(sights, 1, 0, 30) == [[], []]


def test_a_row_that_was_never_seen_is_told_by_its_logit(sights):
    add(sights, 0, [3])
    found = mark(sights, 0, [3, 4, 17])
    assert found[0] == 3
    assert np.isnan(found[1:]).all()
    assert taken(sights, 0, 0, 20) == [[3], [1]]


def test_the_same_written_again_is_the_same(sights, tmp_path):
    """As a run does that is resumed from an earlier checkpoint; by then a row's outcome may have come."""
    for again in (sights, FirstSights(tmp_path / "sights", rows_of_a_file=10)):
        add(again, 0, range(15))
        mark(again, 0, [4, 12])
        again.flush()
    assert taken(again, 0, 0, 12) == [list(range(12)), [float(o == 4) for o in range(12)]]


def test_what_a_dead_run_has_written_behind_the_checkpoint_is_written_over(sights, tmp_path):
    add(sights, 0, range(8), shift=100)
    mark(sights, 0, [7])
    sights.flush()
    resumed = FirstSights(tmp_path / "sights", rows_of_a_file=10)
    add(resumed, 0, range(5, 8))
    assert taken(resumed, 0, 5, 8) == [[5, 6, 7], [0, 0, 0]]


def test_what_was_taken_can_be_taken_again_until_a_checkpoint_knows_it(sights, tmp_path):
    folder = tmp_path / "sights"
    add(sights, 0, range(25))
    sights.flush()
    whole = taken(sights, 0, 0, 22)
    sights.forget()  # of a checkpoint that was begun before
    assert taken(FirstSights(folder, rows_of_a_file=10), 0, 0, 22) == whole
    sights.flush()
    sights.forget()
    assert [file.name for file in folder.iterdir()] == ["0-2.bin"]
    assert taken(FirstSights(folder, rows_of_a_file=10), 0, 20, 25)[0] == [20, 21, 22, 23, 24]


def test_a_file_that_is_missing_or_cut_short_is_one_of_no_rows(sights, tmp_path):
    """As where a resumed run goes back behind what was removed: nothing is made up."""
    assert taken(sights, 0, 0, 1000) == [[], []]
    add(sights, 0, [3])
    sights.flush()
    (tmp_path / "sights" / "0-0.bin").write_bytes(b"torn")
    again = FirstSights(tmp_path / "sights", rows_of_a_file=10)
    add(again, 0, [4])
    assert taken(again, 0, 0, 10) == [[4], [0]]


def test_a_row_costs_five_bytes(sights, tmp_path):
    add(sights, 0, [0])
    sights.flush()
    assert (tmp_path / "sights" / "0-0.bin").stat().st_size == 50
