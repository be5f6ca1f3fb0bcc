"""--rollback_on_regression: a version that turns out bad is left again, with no hand."""

import pytest
from publisher_helpers import trainer
from rows import make_rows
from tensorboard_helpers import events_of

from tfonline.publish.export import Export, Refused
from tfonline.publish.newest import Newest

# A version each 1,000 rows.
SETTINGS = {"rollback_on_regression": 0.02, "gate_rows": 1000, "batch_size": 100, "window_rows": 500, "export_every_windows": 2}
CLEAN = make_rows(7000, seed=3)


def poisoned(rows):
    """The same rows with the other label."""
    return [(b"0" if row[:1] == b"1" else b"1") + row[1:] for row in rows]


@pytest.fixture
def train(dictionary_dir, tmp_path, capsys, monkeypatch):
    return trainer(dictionary_dir, tmp_path, capsys, monkeypatch)


def test_a_version_that_has_learned_from_poisoned_rows_is_left_again(train):
    # Version 4 is published at row 4,000, and clean rows follow.
    config, said, versions = train(CLEAN[:3000] + poisoned(CLEAN[3000:4000]) + CLEAN[4000:], **SETTINGS)
    assert "version 4 was worse than version 3 by" in said
    assert "version 3 is served again, as version 5, and nothing is published until `tools/models.py resume" in said
    assert versions.numbers == [1, 2, 3, 4, 5]
    assert versions.manifest(5)["rolled_back_to"] == 3
    assert versions.manifest(5)["files"] == versions.manifest(3)["files"]
    assert versions.bad.keys() == {4}
    assert "version 4 was worse than version 3" in versions.paused
    events = events_of(f"{config.keeping.model_dir}/tensorboard")
    assert events["train/serving/export_rolled_back"][-1][1] == 1
    # 1,000 clean rows tell; the batch and the window after them are told of.
    back = min(step for step, version in events["train/serving/version"] if version == 5)
    assert 5000 <= back * 100 <= 5600


def test_two_bad_versions_are_left_one_after_the_other_also_over_a_restart(train):
    # Versions 4 and 5 have learned from poisoned rows, and the run ends before clean ones come.
    rows = CLEAN[:3000] + poisoned(CLEAN[3000:5000])
    _, said, versions = train(rows, **SETTINGS)
    assert "served again" not in said
    assert versions.numbers == [1, 2, 3, 4, 5]
    # No version follows: the trainer's own model goes on with what it has learned.
    _, said, versions = train(rows + CLEAN[:4000], **SETTINGS | {"export_every_windows": 100})
    assert said.count("served again") == 2
    assert versions.numbers[-2:] == [6, 7]
    assert [versions.manifest(n)["rolled_back_to"] for n in (6, 7)] == [4, 3]
    assert versions.bad.keys() == {4, 5, 6}


def test_what_an_export_has_displaced_is_compared_again_where_it_is_refused(train, monkeypatch):
    compared, written = set(), []
    score, write = Newest.score_before, Export._write

    def seen(self, batch):
        logits = score(self, batch)
        compared.add((self.number, self.before, len(written), logits is not None))
        return logits

    def refused(self, *arguments):
        written.append(1)
        if len(written) > 2:
            raise Refused("it does not score as the trainer does")
        write(self, *arguments)

    monkeypatch.setattr(Newest, "score_before", seen)
    monkeypatch.setattr(Export, "_write", refused)
    train(CLEAN[:4000], **SETTINGS)
    assert compared == {(1, 0, 1, False), (2, 1, 2, True), (2, 1, 3, True)}
