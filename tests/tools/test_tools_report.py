"""tools/report.py on a folder that the trainer has made, and its page in a real browser."""

import io
import json
import shutil

import pytest
from kafka_helpers import run_tool
from playwright.sync_api import expect
from report import main
from report_events import read_events
from rows import make_rows

from tfonline.config import of_flags
from tfonline.report.console import Console
from tfonline.train import run


@pytest.fixture(scope="module")
def models(dictionary_dir, tmp_path_factory):
    """A folder with the model folder `clicks`, of two runs, which has published models, and `other`, as it was after the first."""
    folder = tmp_path_factory.mktemp("runs")
    flags = {"batch_size": 40, "embedding_dim": 2, "deep_layers": "4", "window_rows": 200, "report_secs": 0.001, "drift_rows": 1000}
    flags |= {"dictionary_dir": dictionary_dir, "input_files": f"{folder}/rows.tsv", "stop_at": "latest"}
    flags |= {"model_dir": f"{folder}/clicks", "export_dir": f"{folder}/models", "export_every_windows": 5, "gate_rows": 40}
    flags |= {"gate_min_auc": 0, "gate_calibration": 0, "gate_max_regression": 9}

    def learn(rows, **more):
        with (folder / "rows.tsv").open("ab") as file:
            file.write(b"".join(row + b"\n" for row in rows))
        run(of_flags(**flags, **more), console=Console(io.StringIO()))

    learn([b"no row", *make_rows(1200)])
    shutil.copytree(folder / "clicks", folder / "other")
    learn(make_rows(1200, seed=2), deep_learning_rate=0.002)
    return folder


def test_a_page_says_how_a_model_stands(models, page):
    for name in ("windows.jsonl", "drift.jsonl"):  # as a trainer leaves them that writes at this moment
        with (models / "clicks" / name).open("a") as file:
            file.write('{"number": 99, "ro')
    before = {path: path.stat().st_mtime_ns for path in (models / "clicks").rglob("*")}
    code, out, err = run_tool("report", models / "clicks", f"--out={models}/page.html", f"--against={models}/other")
    assert code == 0, err
    assert out.startswith(f"report: file={models}/page.html bytes=")
    assert out.endswith(" runs=2 rows=2,400\n")
    assert {path: path.stat().st_mtime_ns for path in (models / "clicks").rglob("*")} == before

    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"file://{models}/page.html")
    expect(page).to_have_title("tfonline: clicks")
    expect(page.get_by_text("The last run has ended: reached --stop_at")).to_be_visible()
    expect(page.locator("header")).to_contain_text("2,400 rows, 61 steps, 13 windows")
    expect(page.locator(".card").filter(has_text="refused rows")).to_contain_text("1")
    expect(page.locator("#refused")).to_contain_text("Up to ckpt-13, 1 of 2,401 rows were refused.")
    expect(page.locator("#runs")).to_contain_text("--deep_learning_rate: 0.001 → 0.002")
    expect(page.locator("#served tbody tr").first).to_contain_text("newest")
    expect(page.locator("#comparison")).to_contain_text("--deep_learning_rate0.0020.001")
    charts = page.locator("figure svg:visible")
    names = charts.evaluate_all("charts => charts.map(chart => chart.getAttribute('aria-label'))")
    wanted = [
        "Log loss, nats",
        "AUC",
        "Reliability by tenths of the rows: bars are 95 % intervals",
        "Recent rows by score",
        "Lag, rows",
    ]
    wanted += ["Rows of a window", "Drift of the columns with the most (PSI): told above 0.25", "Age of what is served, s"]
    assert [name for name in wanted if name not in names] == []
    assert charts.evaluate_all(
        "charts => charts.every(chart => chart.querySelector('path:not(.mark), circle').getBBox().width > 0)"
    )

    quality = page.locator("#quality figure").first
    expect(quality).to_contain_text("rows learned from")
    page.get_by_role("radio", name="time").check()
    expect(quality.get_by_text("time (UTC)")).to_be_visible()
    expect(quality.get_by_text("rows learned from")).to_be_hidden()
    page.locator("#flags summary").click()
    expect(page.locator("#flags").get_by_text("--dictionary_dir")).to_be_visible()
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") == 360  # a phone scrolls tables, not the page
    assert page.problems == []
    assert asked == [f"file://{models}/page.html"]


def test_where_the_newest_checkpoint_cannot_be_read_an_older_one_tells(models, tmp_path):
    shutil.copytree(models / "other", tmp_path / "damaged")
    (tmp_path / "damaged" / "ckpt-7.index").write_bytes(b"short")
    assert main([f"{tmp_path}/damaged", f"--out={tmp_path}/page.html", f"--charts={tmp_path}/charts"]) == 0
    written = (tmp_path / "page.html").read_text()
    assert "Of ckpt-0: 0 recent rows" in written
    assert "ckpt-7 cannot be read: " in written
    assert "</svg>" in (tmp_path / "charts" / "log_loss_nats.svg").read_text()


def test_an_event_that_is_being_written_is_left_out(models, tmp_path):
    shutil.copytree(models / "other", tmp_path / "cut")
    whole, _ = read_events(tmp_path / "cut")
    [file] = (tmp_path / "cut" / "tensorboard" / "trivial").iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    found, [run] = read_events(tmp_path / "cut")
    found, whole = found["trivial/quality/log_loss"], whole["trivial/quality/log_loss"]
    assert (found.step[-1], whole.step[-1]) == (31, 31)  # told at its end, and once more as the run ended
    assert found.time[-1] < whole.time[-1]
    assert found.time[:-1].tolist() == whole.time[:-1].tolist()
    assert (run.first_step, run.last_step, run.flags["window_rows"]) == (1, 31, "200")


def test_what_has_no_page(models, tmp_path):
    for path, text in (
        (tmp_path / "nothing", "is no folder. Expected a --model_dir of the trainer."),
        (tmp_path, "is no model folder"),
    ):
        code, out, err = run_tool("report", path)
        assert (code, out) == (66, "")
        assert text in err
    (tmp_path / "config.json").write_text(json.dumps({}))
    code, _, err = run_tool("report", tmp_path)
    assert code == 66
    assert "tensorboard holds no events" in err
    code, _, err = run_tool("report", models / "other", f"--out={tmp_path}/nowhere/page.html")
    assert code == 73
    assert "cannot be written (No such file or directory)" in err
