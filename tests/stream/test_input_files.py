"""Runs from files between which files appear, grow, vanish or are replaced: each row is trained once, or the run says why not."""

import gzip
import json

import duckdb
import numpy as np
import pytest
from checkpoint_helpers import saved
from kafka_helpers import run_tool
from rows import make_dictionaries, make_rows

from tfonline import config as flags
from tfonline.evaluate.progressive import PREDICTION
from tfonline.features.schema import load_schema
from tfonline.lifecycle import UserError
from tfonline.train import run

ROWS = make_rows(120)


@pytest.fixture(scope="module")
def dictionary_dir(tmp_path_factory):
    return make_dictionaries(tmp_path_factory.mktemp("dictionaries"))


@pytest.fixture
def train(tmp_path, dictionary_dir):
    """Runs the trainer over tmp_path/day_*; returns its summary."""

    def train(**settings):
        small = {
            "dictionary_dir": dictionary_dir, "model_dir": str(tmp_path / "model"), "batch_size": 16, "embedding_dim": 2,
            "deep_layers": "4", "window_rows": 30, "stop_at": "latest", "input_files": f"{tmp_path}/day_*",
        }  # fmt: skip
        return run(flags.of_flags(**{**small, **settings})).summary

    return train


@pytest.fixture
def day(tmp_path):
    """Writes rows [first, last) of ROWS to day_<name>."""

    def write(name, first, last, folder=tmp_path):
        lines = b"".join(row + b"\n" for row in ROWS[first:last])
        (folder / f"day_{name}").write_bytes(gzip.compress(lines, mtime=0) if str(name).endswith(".gz") else lines)

    return write


def names(model):
    return [file["name"].rpartition("/")[2] for file in saved(model)[1]["files_read"]]


def test_a_new_file_is_a_new_partition_wherever_its_name_sorts(train, day, tmp_path):
    day(8, 0, 10)
    day(9, 10, 40)
    assert train()["next"] == [10, 30]
    day(10, 40, 100)  # sorts before day_8
    assert train(save_predictions=True)["next"] == [10, 30, 60]
    scored = np.fromfile(tmp_path / "model" / "predictions.bin", PREDICTION)
    assert [int(label) for label in scored["label"]] == [int(row[:1]) for row in ROWS[40:100]]
    assert set(scored["partition"]) == {2}
    day(7, 100, 120)
    summary = train()
    assert (summary["next"], summary["rows"]) == ([10, 30, 60, 20], 120)
    assert names(tmp_path / "model") == ["day_8", "day_9", "day_10", "day_7"]


def test_the_files_of_a_new_model_are_in_the_order_of_their_numbers(train, day, tmp_path):
    day(10, 0, 10)
    day("9.gz", 10, 12)
    assert train()["next"] == [2, 10]
    assert names(tmp_path / "model") == ["day_9.gz", "day_10"]


def test_rows_that_are_added_at_the_end_of_a_file_are_trained(train, day):
    day(1, 0, 10)
    day("2.gz", 10, 30)
    assert train()["next"] == [10, 20]
    day(1, 0, 25)
    day("2.gz", 10, 30)  # packed anew, the same bytes
    summary = train()
    assert (summary["next"], summary["rows"]) == ([25, 20], 45)


def test_files_that_are_missing_cut_or_replaced_are_each_named_and_nothing_is_trained(train, day, tmp_path):
    for number in range(5):
        day(number, 20 * number, 20 * number + 20)
    train()
    (tmp_path / "day_0").unlink()
    day(1, 0, 20)  # other rows
    day(2, 40, 59)  # a row less
    day(3, 60, 90)  # ten more: as it should be
    before = saved(tmp_path / "model")[1]
    for dry_run in (True, False):
        with pytest.raises(UserError) as e:
            train(dry_run=dry_run)
        assert (e.value.code, str(e.value).splitlines()[1:-1]) == (78, [f"  {tmp_path}/day_0 is missing"])
    day(0, 0, 20)
    with pytest.raises(UserError) as e:
        train()
    assert (e.value.code, str(e.value).splitlines()) == (78, [
        "--input_files: files are not those that the model was trained from:",
        f"  {tmp_path}/day_1 does not begin as it did: it was replaced",
        f"  {tmp_path}/day_2 has 19 rows, and 20 of it have been trained",
        "Put them back as they were, or start a new --model_dir. Rows may be added at the end of a file, and new files may come.",
    ])  # fmt: skip
    assert saved(tmp_path / "model")[1] == before
    day(1, 20, 40)
    day(2, 40, 60)
    assert train()["next"] == [20, 20, 20, 30, 20]


def test_a_named_file_that_is_gone_contradicts_the_checkpoint(train, day, tmp_path):
    day(1, 0, 10)
    day(2, 10, 20)
    both = f"{tmp_path}/day_2,{tmp_path}/day_1"
    assert train(input_files=both)["next"] == [10, 10]
    (tmp_path / "day_1").unlink()
    with pytest.raises(UserError, match="day_1 is missing") as e:
        train(input_files=both)
    assert e.value.code == 78


def test_a_last_row_without_a_line_end_may_get_one_and_more_rows_behind_it(train, day, tmp_path):
    (tmp_path / "day_1").write_bytes(b"\n".join(ROWS[:10]))
    assert train()["next"] == [10]
    with (tmp_path / "day_1").open("ab") as f:
        f.write(b"\n" + ROWS[10] + b"\n")
    assert train()["next"] == [11]


def test_a_last_row_without_a_line_end_must_not_grow_once_it_is_trained(train, day, tmp_path):
    (tmp_path / "day_1").write_bytes(b"\n".join(ROWS[:10]))
    assert train()["next"] == [10]
    assert train()["next"] == [10]  # unchanged
    with (tmp_path / "day_1").open("ab") as f:
        f.write(b"0\n")
    with pytest.raises(UserError, match="day_1 has been added to; its last row had no line end when it was trained") as e:
        train()
    assert e.value.code == 78


def test_a_dry_run_counts_the_rows_of_new_files(train, day, capsys):
    day(8, 0, 10)
    train()
    day(10, 10, 17)
    capsys.readouterr()
    train(dry_run=True)
    out = capsys.readouterr().out
    assert "1 new files, behind those that are known: " in out
    assert "lag 7 rows" in out


def test_a_journal_names_the_files_that_it_is_replayed_from(train, day, tmp_path):
    """Behind a file that came later and sorts first, in another folder as well."""
    day(8, 0, 40)
    day(9, 40, 75)
    train()
    day(7, 75, 120)
    first = train()
    moved = tmp_path / "moved"
    moved.mkdir()
    for number, (start, stop) in {7: (75, 120), 8: (0, 40), 9: (40, 75)}.items():
        day(number, start, stop, moved)
    journal = str(tmp_path / "model" / "windows.jsonl")
    tensors = saved(tmp_path / "model")[0]
    for place, files in (("there", f"{tmp_path}/day_*"), ("elsewhere", f"{moved}/day_*")):
        second = train(input_files=files, replay_journal=journal, stop_at="never", model_dir=str(tmp_path / place))
        assert (second["fingerprint"], second["next"]) == (first["fingerprint"], [40, 35, 45])
        replayed = saved(tmp_path / place)[0]
        assert [n for n in tensors if np.asarray(tensors[n]).tobytes() != np.asarray(replayed[n]).tobytes()] == []
    (moved / "day_9").unlink()
    with pytest.raises(UserError, match="day_9 is not among the files of this run") as e:
        train(input_files=f"{moved}/day_*", replay_journal=journal, stop_at="never", model_dir=str(tmp_path / "third"))
    assert e.value.code == 78


def test_an_inspected_checkpoint_names_its_files(train, day, tmp_path):
    day(1, 0, 10)
    day(2, 10, 15)
    train()
    code, out, _ = run_tool("inspect_checkpoint", tmp_path / "model")
    assert code == 0
    assert f"files         {tmp_path}/day_1 10, {tmp_path}/day_2 5\n" in out


def test_another_pattern_is_another_stream(train, day, tmp_path):
    day(1, 0, 10)
    train()
    with pytest.raises(UserError, match=r"topic: the checkpoint has '.*/day_\*', this run '.*/day_1'") as e:
        train(input_files=f"{tmp_path}/day_1")
    assert e.value.code == 78


def test_the_journal_keeps_the_place_of_a_file_that_no_checkpoint_knows_yet(train, day, tmp_path):
    """A window of the new file was planned, and the run ended before it was saved; then a file came that sorts before it."""
    day(5, 0, 10)
    train()
    files = saved(tmp_path / "model")[1]["files_read"]
    day(6, 10, 20)
    newer = {**files[0], "name": f"{tmp_path}/day_6", "head": "0" * 64}
    line = {"number": 1, "start": [10, 0], "stop": [10, 10], "trigger": "end", "rows": 10, "files": [files[0], newer]}
    with (tmp_path / "model" / "windows.jsonl").open("a") as f:
        f.write(json.dumps(line, separators=(",", ":")) + "\n")
    day(4, 20, 50)
    train(save_predictions=True)
    assert names(tmp_path / "model") == ["day_5", "day_6", "day_4"]
    scored = np.fromfile(tmp_path / "model" / "predictions.bin", PREDICTION)
    assert [int(label) for label in scored["label"][:10]] == [int(row[:1]) for row in ROWS[10:20]]


def test_an_error_in_the_middle_of_a_file_reaches_the_user(train, day, tmp_path):
    (tmp_path / "day_1.gz").write_bytes(gzip.compress(b"".join(row + b"\n" for row in ROWS), mtime=0)[:-40])
    with pytest.raises(UserError, match=r"day_1\.gz is no whole gzip file: .*, after [\d,]+ bytes of rows") as e:
        train()
    assert e.value.code == 65


def parquet_of(path, rows):
    names = load_schema("configs/criteo.yaml").names
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE rows ({', '.join(f'{name} VARCHAR' for name in reversed(names))})")
        con.executemany(f"INSERT INTO rows VALUES ({', '.join('?' * len(names))})", [list(reversed(row)) for row in rows])
        con.execute(f"COPY rows TO '{path}' (FORMAT parquet)")


def test_rows_under_a_header_and_of_parquet_train_the_model_that_lines_train(train, day, tmp_path):
    day(1, 0, 100)
    fields = [row.decode().split("\t") for row in ROWS[:100]]
    header = load_schema("configs/criteo.yaml").names
    (tmp_path / "rows.csv").write_text("\n".join(",".join(reversed(line)) for line in [header, *fields]) + "\n")
    parquet_of(tmp_path / "rows.parquet", fields)
    of_files = {
        "lines": {},
        "csv": {"input_files": f"{tmp_path}/rows.csv", "message_format": "csv"},
        "parquet": {"input_files": f"{tmp_path}/rows.parquet"},
    }
    scored = {}
    for name, settings in of_files.items():
        # A header takes an offset, so that windows of as many offsets would hold other rows.
        whole = {"window_rows": 1000, "model_dir": str(tmp_path / name), "save_predictions": True}
        assert train(**whole, **settings)["next"] == [101 if name == "csv" else 100]
        scored[name] = np.fromfile(tmp_path / name / "predictions.bin", PREDICTION)
    assert len(scored["lines"]) == 100
    np.testing.assert_array_equal(scored["csv"]["offset"], np.arange(1, 101))
    for name in ("csv", "parquet"):
        np.testing.assert_array_equal(scored[name]["logit"], scored["lines"]["logit"])
        np.testing.assert_array_equal(scored[name]["label"], scored["lines"]["label"])


def test_windows_of_parquet_are_replayed_and_a_new_file_comes_behind(train, tmp_path):
    fields = [row.decode().split("\t") for row in ROWS]
    parquet_of(tmp_path / "day_1", fields[:70])
    assert train(save_predictions=True)["next"] == [70]
    again = {"model_dir": str(tmp_path / "again"), "replay_journal": f"{tmp_path}/model/windows.jsonl"}
    assert train(save_predictions=True, **again)["next"] == [70]
    first, second = (np.fromfile(tmp_path / name / "predictions.bin", PREDICTION) for name in ("model", "again"))
    np.testing.assert_array_equal(first, second)
    parquet_of(tmp_path / "day_2", fields[70:])
    summary = train()
    assert (summary["next"], summary["rows"]) == ([70, 50], 120)
    parquet_of(tmp_path / "day_1", fields[1:71])
    with pytest.raises(UserError, match="day_1 does not begin as it did: it was replaced"):
        train()
