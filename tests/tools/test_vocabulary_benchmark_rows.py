"""What the benchmark of ids that come with the stream makes for itself: rows by several processes, dictionaries without DuckDB."""

import numpy as np
import process_data
import synthetic

from benchmarks.gpu.rows import dictionaries_of
from benchmarks.vocabulary import rows as benchmark_rows
from tfonline.features.dictionaries import load_dictionaries
from tfonline.features.schema import load_schema


def test_rows_of_several_processes_are_those_of_one(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark_rows.os, "sched_getaffinity", lambda _: range(3))
    path, truth = benchmark_rows.make_rows(tmp_path, 30_001, lifetime=60_002)
    blocks = list(synthetic.rows(30_001, lifetime=60_002))
    assert path.read_bytes().splitlines() == [line for block in blocks for line in block.lines]
    assert np.array_equal(truth, np.concatenate([block.probability for block in blocks]))
    assert [file.name for file in tmp_path.iterdir()] == ["rows.tsv"]


def test_dictionaries_are_those_of_process_data(tmp_path):
    lines = [line.decode() for block in synthetic.rows(3000) for line in block.lines]
    (tmp_path / "rows.tsv").write_text("\n".join(lines) + "\n")
    process_data.run(process_data.parse_args([str(tmp_path / "rows.tsv"), f"--output_dir={tmp_path}", "--min_count=3"]))
    wanted = load_dictionaries(str(tmp_path), load_schema("configs/criteo.yaml"))
    found = dictionaries_of((line + "\n" for line in lines), min_count=3)
    assert found == wanted
    assert list(found.cat2id) == list(wanted.cat2id)
    few = dictionaries_of(lines, most=100)
    assert few.num_ids == 100
    assert few.cat2id.keys() < dictionaries_of(lines).cat2id.keys()
