"""Drift of the inputs: the index by hand, what chance does, episodes, and that rows alone decide."""

import json
import math

import numpy as np
import pytest

from tfonline.evaluate.drift import Drift
from tfonline.evaluate.input_drift import Bins, Errors, InputDrift, psi


def keys(*values):
    return np.array(values, np.int64)


def count(bins, values):
    return np.bincount(bins.places(values), minlength=len(bins.counts))


def test_the_index_by_hand():
    found, parts = psi(np.array([900, 100]), np.array([100, 900]))
    # Shares 900.5 / 1001 and 100.5 / 1001; two bins of 1000 rows have an index of 0.002 by chance.
    assert parts == pytest.approx([0.79920 * 2.19278] * 2, abs=1e-4)
    assert found == pytest.approx(3.5029, abs=1e-3)
    assert psi(np.array([500, 500]), np.array([510, 490]))[0] == 0  # less than chance has
    assert psi(np.array([500, 500, 0]), np.array([500, 500, 0]))[1].tolist() == [0, 0, 0]


def test_a_bin_that_was_empty_makes_no_infinite_index():
    found, _ = psi(np.array([1000, 0]), np.array([0, 1000]))
    assert 10 < found < 20


def test_categories_have_a_bin_for_each_frequent_value_one_for_others_and_one_for_missing():
    bins = Bins.of(keys(7, 7, 7, 5, 5, -1))
    assert bins.edges.tolist() == [5, 7]
    assert bins.counts.tolist() == [2, 3, 0, 1]
    assert count(bins, keys(-1, -1, 5, 6, 8, 4)).tolist() == [1, 0, 3, 2]
    assert [bins.name(i) for i in range(4)] == [
        "the value that was the 2nd most frequent",
        "the value that was the 1st most frequent",
        "values other than the 2 most frequent",
        "missing",
    ]


def test_the_values_with_a_bin_are_bounded():
    bins = Bins.of(np.repeat(np.arange(1000), np.arange(1000) % 200 + 1))
    assert len(bins.edges) == 64
    assert bins.counts.sum() == 100_500
    # The 13th most frequent share of the residues modulo 200: 64 values are 12 whole residues of 5 values, and 4 of another.
    assert sorted(set(bins.edges % 200)) == list(range(187, 200))


def test_numbers_have_the_references_tenths_and_a_bin_on_each_side():
    bins = Bins.of(np.arange(1.0, 101))
    assert bins.edges[1:].tolist() == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    assert bins.counts.tolist() == [0, *[10] * 10, 0, 0]
    assert count(bins, np.array([0.5, 1, 10, 10.5, 101, np.nan])).tolist() == [1, 2, 1, *[0] * 8, 1, 1]
    one_value = Bins.of(np.array([3.0, 3, np.nan]))
    assert count(one_value, np.array([2.0, 3, 4])).tolist() == [1, 1, 1, 0]
    assert count(Bins.of(np.array([np.nan] * 3)), np.array([1.0, np.nan])).tolist() == [1, 1]


@pytest.mark.parametrize("rows", [1000, 10_000])
def test_chance_is_no_drift(rows):
    rng = np.random.default_rng(5)
    shares = 1 / np.arange(1, 301)
    shares /= shares.sum()
    draw = lambda: rng.choice(300, rows, p=shares).astype(np.int64)  # noqa: E731
    bins = Bins.of(draw())
    assert max(psi(bins.counts, count(bins, draw()))[0] for _ in range(100)) < 0.1


def watched(rows=1000, limit=0.25, columns=("C1",)):
    return InputDrift(columns, rows, limit)


def feed(drift, *values):
    """A column's values, batch by batch; returns what is told."""
    told = []
    for batch in values:
        told += drift.add(len(batch), [({"C1": batch[places]}, {"": right(len(places))}) for places in drift.take(len(batch))])
    return told


def right(rows):
    """Errors of scores that could not be better."""
    return Errors(np.full(rows, 0.25), np.full(rows, 0.25), np.full(rows, 0.1875))


USUAL, OTHER = np.arange(1000) % 10, np.arange(1000) % 10 + 5


def test_an_episode_is_told_once_and_its_end():
    drift = watched()
    assert feed(drift, USUAL, USUAL) == []
    [begins] = feed(drift, np.where(np.arange(1000) < 450, -1, USUAL))
    assert begins.about == "C1"
    assert begins.begins
    assert begins.text.startswith("drift in column C1: PSI 3.")
    assert begins.text.endswith("(missing 0.00 -> 0.45)")
    assert (begins.numbers["missing"], begins.numbers["missing_before"]) == (0.45, 0)
    assert feed(drift, OTHER, OTHER) == []
    assert [(f.begins, f.text) for f in feed(drift, USUAL, USUAL)] == [(False, "no more drift in column C1: PSI 0.00")]


def test_episodes_that_go_on_are_counted():
    drift = Drift(["C1", "C2"], 1000, 0.25)
    assert drift.episodes() == {"column": 0, "model": 0}
    drift.inputs.columns["C2"].over, drift.inputs.wrong[""], drift.model.episode = 3, "C1", "more_clicks"
    assert drift.episodes() == {"column": 1, "model": 2}
    assert Drift(["C1"], 0, 0.25).episodes() == {}  # nothing is watched


def test_what_has_lasted_is_the_new_normal():
    drift = watched()
    told = [len(feed(drift, rows)) for rows in [USUAL, *[OTHER] * 14]]
    assert told == [0, 1, *[0] * 8, 1, *[0] * 4]  # the tenth window of it ends the episode, the next one is the reference
    assert drift.columns["C1"].psi == 0
    assert [f.begins for f in feed(drift, USUAL)] == [True]


def test_neither_batches_nor_restarts_change_anything():
    rng = np.random.default_rng(3)
    stream = np.concatenate([rng.integers(0, 9, 2500), rng.integers(3, 12, 2500)])
    whole, parts = watched(), watched()
    told = feed(whole, stream)
    found, first = [], 0
    for n in [1, 999, 1, 333, 2000, 500, 1166]:  # the scores are as many
        found += feed(parts, stream[first : first + n])
        first += n
        saved = json.loads(json.dumps(parts.get_state()))
        parts = watched()
        parts.set_state(saved)
    assert first == len(stream)
    assert found == told != []
    assert parts.get_state() == whole.get_state()


def test_a_large_window_is_looked_at_by_a_sample_of_rows_at_equal_distances():
    drift = watched(rows=20_000)
    drift.add(6, [({"C1": np.zeros(len(p), np.int64)}, {"": right(len(p))}) for p in drift.take(6)])
    [places] = drift.take(10)  # the sample has each fourth row of the window: 0, 4, 8, 12
    assert places.tolist() == [2, 6]
    first, second = drift.take(20_000)
    assert (len(first), first[0], second[0]) == (4998, 2, 19_994)


def test_a_window_of_another_size_or_other_columns_begin_anew():
    drift = Drift(("C1",), 1000, 0.25)
    feed(drift.inputs, USUAL, USUAL)
    saved = json.loads(json.dumps(drift.get_state()))
    for columns, rows in ((("C1",), 2000), (("C1", "C2"), 1000)):
        other = Drift(columns, rows, 0.25)
        other.set_state(saved, 1)
        assert other.inputs.windows == 0
        assert math.isnan(other.inputs.columns["C1"].psi)
    off = Drift(("C1",), 0, 0.25)
    off.set_state(saved, 1)
    assert off.get_state() is None
    drift.set_state(None, 1)
    assert drift.inputs.windows == 0


def scored(drift, windows, flipped=()):
    """Windows of right scores, but for rows with a value of `flipped`, whose label is inverted."""
    told, rng = [], np.random.default_rng(drift.windows)
    for _ in range(windows):
        p = np.full(1000, 0.2)
        labels = (rng.random(1000) < p) ^ np.isin(USUAL, flipped)
        told += drift.add(1000, [({"C1": USUAL[places]}, {"": errors(labels, p, places)}) for places in drift.take(1000)])
    return told


def errors(labels, p, places):
    return Errors(labels[places].astype(float), p[places], (p * (1 - p))[places])


def test_a_value_whose_labels_are_inverted_is_told_once_by_its_column():
    drift = watched()
    assert scored(drift, 20) == []
    [found] = scored(drift, 3, flipped=[4])
    assert (found.about, found.begins, found.numbers["column"]) == ("model", True, "C1")
    assert found.text.startswith("drift of the model for column C1, the value that was the 1st most frequent: ")
    assert found.text.endswith(f" clicks where 20 were predicted (z {found.numbers['z']:.1f})")
    assert found.numbers["z"] == pytest.approx((found.numbers["clicks"] - 20) / 4)  # 100 rows of variance 0.16
    assert drift.wrong == {"": "C1"}
    assert [f.begins for f in scored(drift, 2)] == [False]


def test_the_scores_of_a_new_model_are_not_held_against_it():
    assert scored(watched(), 5, flipped=range(10)) == []


@pytest.mark.parametrize(("rows", "told"), [(20, 0), (24, 1)])
def test_few_rows_have_to_differ_by_more(rows, told):
    """Of 20 rows with p = 0.2 that are all clicked z is 8.9, and the bound exp(-18.4); of 24 it is exp(-22.1)."""
    drift = watched()
    assert scored(drift, 6) == []
    values = np.where(np.arange(1000) < rows, 3, 4)
    labels, p = np.where(values == 3, 1.0, 0.2), np.full(1000, 0.2)
    found = drift.add(1000, [({"C1": values}, {"": errors(labels, p, slice(None))})])
    assert len([f for f in found if f.about == "model"]) == told
