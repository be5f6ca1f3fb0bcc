"""What make demo says at its end, and what make setup shows while it works."""

import gzip
import json
import os
import subprocess
import sys

import demo
import numpy as np
import pytest
import synthetic
from kafka_helpers import ROOT
from synthetic_streams import STREAMS


def test_the_best_auc_is_that_of_the_rows_that_the_demo_scores():
    # 10 rows: the last 3 of them, 7, 8 and 9.
    p, q, r = np.concatenate([block.probability for block in synthetic.rows(10)])[7:]
    pairs = [(p, q), (p, r), (q, r)]
    won = sum(max(a, b) * (1 - min(a, b)) for a, b in pairs)  # the larger one is ranked above
    of = sum(a * (1 - b) + b * (1 - a) for a, b in pairs)
    assert demo.best_auc(10) == pytest.approx(won / of)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    return tmp_path / "demo"


@pytest.mark.parametrize("name", ["rows.tsv", "rows.tsv.gz"])
def test_the_next_steps_ask_the_published_model_for_a_row_that_was_trained(folder, name):
    (folder / "models" / "1").mkdir(parents=True)
    with (gzip.open if name.endswith(".gz") else open)(folder / name, "wb") as file:
        file.write('1\t2\t"é"\r\n0\t3\tb\n'.encode())
    said = demo.next_steps(folder, folder / name, "").splitlines()
    venv = os.path.relpath(sys.prefix)
    assert f"    {venv}/bin/tensorboard --logdir demo/model/tensorboard" in said
    assert f"    {venv}/bin/python tools/report.py demo/model --export_dir=demo/models --out=demo/report.html" in said
    assert f"    {venv}/bin/python tools/schema.py infer --input=demo/{name} --output=demo/columns.yaml" in said
    assert f"    {venv}/bin/python -m tfonline.serve --export_dir=demo/models" in said
    assert "    curl -d @demo/request.json http://127.0.0.1:8501/v1/models/tfonline:predict" in said
    assert json.loads((folder / "request.json").read_text()) == {"instances": ['1\t2\t"é"']}
    assert said[-1] == "For a trainer that stays: make demo KEEP=1 leaves the broker running, and says the command."


def test_the_next_steps_ask_for_an_object_where_the_topic_has_objects(folder):
    (folder / "models" / "1").mkdir(parents=True)
    lines = [line for block in STREAMS["avazu"].rows(2, 1, 0) for line in block.lines]
    (folder / "rows.tsv").write_bytes(b"\n".join(lines))
    said = demo.next_steps(folder, folder / "rows.tsv", "localhost:1234", "avazu")
    [row] = json.loads((folder / "request.json").read_text())["instances"]
    assert (row["hour"], row["click"], len(row)) == (14102100, int(lines[0].split(b"\t")[1]), 24)
    assert "--flagfile=configs/demo_avazu.flags" in said
    assert "--dictionary_dir" not in said
    assert "--data=avazu --columns=configs/avazu.yaml --format=json_objects" in said


def test_the_next_steps_of_a_topic_with_a_registry(folder):
    (folder / "models" / "1").mkdir(parents=True)
    (folder / "rows.tsv").write_bytes(next(STREAMS["feed"].rows(1, 1, 0)).lines[0])
    said = demo.next_steps(folder, folder / "rows.tsv", "localhost:1234", "feed", "http://127.0.0.1:99/apis")
    [row] = json.loads((folder / "request.json").read_text())["instances"]
    assert set(row) == {"event", "labels", "user", "item"}
    assert row["user"]["last_items"][0].startswith("i")
    assert said.count("--registry_url=http://127.0.0.1:99/apis") == 2
    assert said.endswith(f"{os.path.relpath(sys.prefix)}/bin/python tools/registry.py stop\n")


def test_the_next_steps_with_a_broker_that_stays(folder):
    said = demo.next_steps(folder, folder / "rows.tsv", "localhost:1234")
    assert "It published no model: none passed the gate (demo/models/refused.jsonl says why). Give it more rows." in said
    trainer = next(line for line in said.splitlines() if "tfonline.train" in line)
    assert trainer.split()[1:] == [
        "-m", "tfonline.train", "--flagfile=configs/demo.flags", "--bootstrap_servers=localhost:1234", "--stop_at=never", "\\",
    ]  # fmt: skip
    assert said.endswith(f"    {os.path.relpath(sys.prefix)}/bin/python tools/broker.py stop\n")


def test_setup_shows_what_it_fetches_on_a_terminal_and_nothing_in_a_log():
    def commands(stdout):
        env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        subprocess.run(
            ["make", "--dry-run", "--always-make", "STACK=tf216", ".venv/.ready"], cwd=ROOT, stdout=stdout, env=env, check=True
        )

    terminal, shown = os.openpty()
    commands(shown)
    os.close(shown)
    on_terminal = os.read(terminal, 65536).decode()
    os.close(terminal)
    reader, writer = os.pipe()
    commands(writer)
    os.close(writer)
    with os.fdopen(reader) as file:
        in_log = file.read()
    assert on_terminal.count("pip install") == in_log.count("pip install") == 2
    assert "--quiet" not in on_terminal
    assert in_log.count("--quiet") == 2


def test_keep_leaves_the_broker_running():
    def command(*options):
        env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        return subprocess.run(
            ["make", "--dry-run", "demo", *options], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=env, check=True
        ).stdout

    assert "tools/demo.py --rows=a --keep\n" in command("KEEP=1", "ROWS=a")
    assert "--keep" not in command("KEEP=0") + command()
