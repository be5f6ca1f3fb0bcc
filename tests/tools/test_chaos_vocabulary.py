"""The vocabulary that grows under the chaos: it waits until it is full, and finds out where nothing was proven."""

import pytest
import tensorflow as tf

from benchmarks.chaos.vocabulary import GrowingVocabulary, Tally, tally_of

HELD = [f"learner/admission/{n}" for n in ("seen", "since", "hits", "misses", "counted", "claims", "now", "tally")]
COMPARED = [f"{name}/.ATTRIBUTES/VARIABLE_VALUE" for name in ["learner/model/vocabulary/keys", "learner/model/bias", *HELD]]


def save(folder, number, in_use, reused=0, name="tally"):
    """A checkpoint with totals of 16 rows, as the newest one."""
    tally = tf.Variable([in_use, in_use + reused, reused, 7], dtype=tf.int64)
    admission = tf.train.Checkpoint(**{name: tally})
    tf.train.Checkpoint(learner=tf.train.Checkpoint(admission=admission)).write(f"{folder}/ckpt-{number}")
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "ckpt-{number}"\n')


def test_it_is_full_once_a_checkpoint_says_so(tmp_path):
    vocabulary = GrowingVocabulary(16, tmp_path)
    assert not vocabulary.is_full()  # no checkpoint yet
    save(tmp_path, 0, in_use=15)  # 94 %
    assert not vocabulary.is_full()
    save(tmp_path, 3, in_use=16)
    assert vocabulary.is_full()
    assert tally_of(f"{tmp_path}/ckpt-0") == Tally(15, 15, 0, 7)


def test_a_checkpoint_that_is_gone_is_none_and_one_without_a_vocabulary_is_an_error(tmp_path):
    assert tally_of(None) is None
    assert tally_of(f"{tmp_path}/ckpt-5") is None
    save(tmp_path, 1, in_use=3, name="other")
    with pytest.raises(ValueError, match="ran without --vocabulary_rows"):
        tally_of(f"{tmp_path}/ckpt-1")


def test_what_is_told_is_of_the_first_kill_and_of_what_changed_hands_after_it(tmp_path):
    vocabulary = GrowingVocabulary(16, tmp_path)
    save(tmp_path, 1, in_use=16, reused=5)
    vocabulary.note_kill()
    save(tmp_path, 2, in_use=16, reused=30)
    vocabulary.note_kill()
    said, problems = vocabulary.outcome(COMPARED)
    assert problems == []
    assert said == (
        "vocabulary: 16 of 16 rows in use at the first kill (100.0%), 25 changed hands afterwards; compared to the bit: keys, "
        "seen, since, hits, misses, counted, claims, now, tally"
    )


def test_a_run_that_proves_nothing_of_the_vocabulary_is_found_out(tmp_path):
    vocabulary = GrowingVocabulary(16, tmp_path)
    save(tmp_path, 1, in_use=15, reused=5)
    vocabulary.note_kill()
    _, problems = vocabulary.outcome([name for name in COMPARED if "keys" not in name and "misses" not in name])
    assert problems == [
        "rows in use at the first kill: 93.8% found, at least 95% expected",
        "rows that changed hands under the kills: 0 found, more expected",
        "tensors of the vocabulary that were not compared: ['keys', 'misses'] found, [] expected",
    ]
    never_killed = GrowingVocabulary(16, tmp_path)
    assert never_killed.outcome(COMPARED)[1] == ["rows in use at the first kill: 0.0% found, at least 95% expected"]
