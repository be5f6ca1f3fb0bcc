"""Each version of a run scores as the trainer did when it was published, to the bit, in a process that knows TensorFlow alone."""

import gzip
import itertools

import numpy as np
import process_data
import pytest
import synthetic
from kafka_helpers import ROOT
from publisher_helpers import AtOnce
from servable_helpers import clients_scores, trainers_scores

from tfonline.config import parse
from tfonline.publish import publisher as publisher_module
from tfonline.publish.versions import Versions
from tfonline.train import run

NUM_ROWS, BATCH = 10_000, 250


# Ids by dictionaries, and ids that come with the stream: of most rows, some came after the model began.
# Real rows, where there are some beside the project.
REAL = (ROOT / "../shared/data").glob("criteo_first10k.tsv.gz")
GROWING = ["--vocabulary_rows=8192", "--admit_after=3", "--dictionary_dir=there-is-none"]


# Synthetic rows and, in a checkout that lies beside the real ones, those.
@pytest.mark.parametrize(("path", "more"), [(None, GROWING), (next(REAL, None), [])], ids=["growing", "dictionaries"])
def test_each_version_scores_as_its_checkpoint_does(path, more, tmp_path, monkeypatch):
    monkeypatch.setattr(publisher_module, "ThreadPoolExecutor", AtOnce)
    if path is None:
        path = tmp_path / "rows.tsv.gz"
        assert synthetic.main([f"--rows={NUM_ROWS}", f"--output={path}"]) == 0
    if not more:
        process_data.run(process_data.parse_args([str(path), f"--output_dir={tmp_path / 'dictionaries'}"]))
    config = parse(
        [
            "", "--flagfile=configs/criteo.flags", f"--input_files={path}", f"--dictionary_dir={tmp_path / 'dictionaries'}",
            f"--model_dir={tmp_path / 'model'}", f"--export_dir={tmp_path / 'export'}", "--stop_at=latest", "--window_rows=3400",
            "--checkpoint_every_steps=1", "--nobackground_save", "--export_every_windows=1", "--gate_rows=1000",
            "--gate_min_auc=0", "--gate_calibration=0", "--gate_max_regression=1", "--cross_buckets=100000",
            "--oov_buckets=1000", "--deep_layers=64", *more,
        ]
    )  # fmt: skip
    run(config)
    versions = Versions(config.serving.export_dir)
    manifests = [versions.manifest(number) for number in versions.numbers]
    assert [manifest["rows"] for manifest in manifests] == [3400, 6800, NUM_ROWS]
    with gzip.open(path) as file:
        rows = [line.rstrip(b"\n") for line in file]
    checkpoints = [f"{config.keeping.model_dir}/published/{manifest['checkpoint']}" for manifest in manifests]
    expected = list(trainers_scores(config, rows, BATCH, *checkpoints))
    folders = [versions.path(number) for number in versions.numbers]
    found = clients_scores(tmp_path, path, *itertools.product(folders, (BATCH, 1000)))
    for logits, same, other in zip(expected, found[::2], found[1::2], strict=True):
        assert len(logits) == NUM_ROWS
        assert np.array_equal(same["logit"], logits)
        assert np.abs(other["probability"] - 1 / (1 + np.exp(-logits.astype(np.float64)))).max() < 1e-6
    for one, later in itertools.combinations(expected, 2):
        assert (one != later).mean() > 0.9
