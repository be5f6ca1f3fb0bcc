"""What a run tells of itself while it goes on and at its end: lines of the console, files of the model folder."""

import io
import re
from types import SimpleNamespace

import pytest
from rows import make_rows

from tfonline.config import Config
from tfonline.report.console import Console
from tfonline.train import run

ROWS = make_rows(400)
_TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", re.MULTILINE)


@pytest.fixture
def learn(dictionary_dir, tmp_path):
    """Learns from files, each a partition; returns the lines of the console and the summary."""

    def learn(*partitions, **settings):
        names = []
        for i, rows in enumerate(partitions):
            (tmp_path / f"rows_{i:02}.tsv").write_bytes(b"".join(row + b"\n" for row in rows))
            names.append(f"{tmp_path}/rows_{i:02}.tsv")
        small = {"dictionary_dir": dictionary_dir, "model_dir": str(tmp_path / "model"), "batch_size": 20, "embedding_dim": 2}
        small |= {"deep_layers": "4", "stop_at": "latest", "input_files": ",".join(names)}
        out = io.StringIO()
        summary = run(Config(**{**small, **settings}), console=Console(out)).summary
        return SimpleNamespace(lines=_TIME.sub("", out.getvalue()).splitlines(), summary=summary)

    return learn


def test_lines_with_offsets_stay_short_where_partitions_are_many(learn, tmp_path):
    parts = [ROWS[10 * p : 10 * p + 10] for p in range(12)]
    first = learn(*parts, window_rows=60, lag_policy="skip", max_lag_rows=60)
    assert "a new model, from offsets [0: 0, 1: 0, ... 10 more], 0 in all" in first.lines
    skipped = "window 0, 60 offsets from [0: 0, 1: 0, ... 10 more], 0 in all to [0: 5, 1: 5, ... 10 more], 60 in all"
    assert f"{skipped}: SKIPPED by --lag_policy=skip" in first.lines
    assert f"saved {tmp_path}/model/ckpt-2: step 3, next [0: 10, 1: 10, ... 10 more], 120 in all" in first.lines
    assert first.summary["next"] == [10] * 12
    resumed = f"resumed from {tmp_path}/model/ckpt-2: window 2, step 3, next [0: 10, 1: 10, ... 10 more], 120 in all"
    assert resumed in learn(*parts).lines
