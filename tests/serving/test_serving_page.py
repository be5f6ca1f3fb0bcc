"""The page at /, in a real browser."""

import time

import pytest
from playwright.sync_api import expect
from serving_helpers import publish, serving

from tfonline.publish.versions import Versions


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path / "models", tmp_path / "log") as server:
        yield server


def test_a_row_is_pasted_and_its_score_shown(page, server, tmp_path):
    page.goto(f"http://127.0.0.1:{server.port}/")
    expect(page.get_by_text("no version has been published yet")).to_be_visible()
    publish(tmp_path / "models", 0.5)
    metrics = {"rows": 50_000, "auc": 0.7654, "log_loss": 0.4567, "calibration": 1.012, "served_log_loss": 0.4561}
    three_hours_ago = time.time() - 3 * 3600
    publish(tmp_path / "models", 0.25, metrics={**metrics, "regression": 0.0006}, newest_row_time=three_hours_ago)
    Versions(tmp_path / "models").roll_back(1, why="<b>too low</b>")
    server.wait_for("serving version 3 ")
    page.reload()
    expect(page).to_have_title("tfonline: tfonline")
    expect(page.locator("#served")).to_contain_text("version 3, published")
    expect(page.locator("#served")).to_contain_text("AUC 0.7500, log loss 0.5000, calibration -")
    rows = page.locator("#versions tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("served")
    expect(rows.nth(1)).to_contain_text("3 h25050.76540.45671.0120.4561+0.00060bad: <b>too low</b>")  # as text, not as HTML

    box = page.get_by_label("Rows as in the topic")
    box.fill("\tabc\n\nabcdef\n")
    page.get_by_role("button", name="Score").click()
    answer = page.locator("#answer tbody tr")
    expect(answer).to_have_count(2)
    expect(answer.nth(0)).to_have_text("10.8807972.0000003")  # row 1, sigmoid(2), 2, version 3
    expect(answer.nth(1)).to_have_text("20.9525743.0000003")

    page.evaluate("look()")  # it does so every five seconds
    expect(page.locator("#requests")).to_contain_text(
        "requests by HTTP status: 1 (200: 1); rows by reason, ok has a score: 2 (ok: 2);"
    )
    expect(page.locator("#requests")).to_contain_text("refused before they were scored: 0.")

    box.fill("")
    box.press("Control+Enter")
    expect(page.get_by_text("Paste a row first.")).to_be_visible()
    expect(page.locator("#format")).to_have_text(" (tsv)")
    page.get_by_role("button", name="Example").click()
    expect(box).to_have_value("0\t0\t0\t0")
    assert page.problems == []


def test_what_cannot_be_scored_is_said(page, server, tmp_path):
    publish(tmp_path / "models", 0.5)
    server.wait_for("serving version 1 ")
    page.goto(f"http://127.0.0.1:{server.port}/")
    expect(page.locator("#served")).to_contain_text("version 1")
    box = page.get_by_label("Rows as in the topic")
    refused = {"logit": None, "probability": None, "reason": 4, "why": "it has 1 field, expected are 4"}
    page.route("**/v1/models/**", lambda route: route.fulfill(json={"predictions": [refused]}))
    box.fill("x")
    box.press("Control+Enter")
    expect(page.locator("#answer")).to_contain_text("not scored: fields: it has 1 field, expected are 4")
    page.unroute("**/v1/models/**")
    page.get_by_label("they lack the label's field").check()  # which this version has no signature for
    box.press("Control+Enter")
    expect(page.locator("#answer")).to_contain_text('there is no signature "unlabelled"; expected one of columns, serving_default')
    as_objects = {"format": "json_objects", "text": "{}", "object": True}
    page.evaluate("example => { about.served.example = example; }", as_objects)
    box.fill("{")
    box.press("Control+Enter")
    expect(page.locator("#answer")).to_contain_text("Row 1 is no JSON object")
    box.fill("{}")
    server.process.kill()
    box.press("Control+Enter")
    expect(page.locator("#answer")).to_contain_text("The server does not answer")
