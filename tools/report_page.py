"""The page on a model: its head, its sections in the order in which people ask, what is served, runs and flags."""

import re
import time

from report_html import cards, count, escape, grid, hidden, number, section, share, signed, table, text, when, whole_page
from report_quality import comparison, quality, scores, shown_flag
from report_read import Model
from report_stream import by_value, columns, fed, over_time, refused, told_at, unreadable

_STATUS = re.compile(r"(\S+)Z pid \d+ (\w+) window (\d+) step (\d+)")
_MOST_REFUSALS = 30
_GATE = (
    "Metrics are the gate's, of the last rows before a version was published, each scored before it was learned from. "
    "The version before has scored the same rows."
)
_SERVED = (
    ("Age of what is served, s", [
        ("train/serving/age_secs", "since it was published", 0), ("train/serving/newest_row_age_secs", "its newest row", 1),
    ]),
    ("Rows learned from since it was published", [("train/serving/age_rows", "rows", 0)]),
    ("The version that is served", [("train/serving/version", "number", 0)]),
    ("Models by outcome", [
        ("train/serving/export_published", "published", 2), ("train/serving/export_refused", "refused", 1),
        ("train/serving/export_failed", "failed", 5),
    ]),
)  # fmt: skip


def page(model: Model, other: Model | None = None, now: float | None = None) -> str:
    """The page of a model, and of how it stands against another one.

    Args:
      model: whose page it is.
      other: to compare with.
      now: seconds since 1970; None: time.time().
    """
    now = now or time.time()
    parts = {
        "quality": quality(model), "scores": scores(model), "stream": fed(model), "columns": columns(model),
        "values": by_value(model), "refused": refused(model), "served": served(model, now), "runs": runs(model),
        "flags": flags(model),
    }  # fmt: skip
    if other:
        parts = {"comparison": comparison(model, other), **parts}
        parts["other"] = served(other, now, f"What is served of {other.name}", "other")
    links = " ".join(f'<a href="#{name}">{name}</a>' for name, part in parts.items() if part)
    return whole_page(
        f"tfonline: {model.name}", [_head(model, now), f"<nav>{links}</nav>", unreadable(model), *parts.values(), told_at(now)]
    )


def how_it_stands(model: Model) -> str:
    """How the last run has ended or, where that is not said, what it was doing when it wrote that last."""
    folder, last = model.folder, model.runs[-1]
    ended = folder.summary.get("ended", "")
    said = f"{ended} ({when(folder.summed_up)} UTC)" if ended else ""
    status = _STATUS.match(folder.status)
    if said and folder.summed_up >= last.began:
        return f"The last run has ended: {said}."
    before = f" The one before it had ended: {said}." if said else ""
    if not status:
        return f"The last run has not said how it ended.{before}"
    at, phase, window, step = status.groups()
    what = f"{phase}, window {int(window):,}, step {int(step):,}, at {at.replace('T', ' ')} UTC"
    return f"The last run goes on, or was cut off: {what}.{before}"


def _head(model: Model, now: float) -> str:
    f, last, saved = model.folder.flags, model.runs[-1], model.saved
    contract = saved.contract or {}
    stream = f"files {f['input_files']}" if f.get("input_files") else f"topic {contract.get('topic') or f.get('topic', '-')}"
    stack = ", ".join(f"{name} {last.stack[name]}" for name in ("tensorflow", "python") if name in last.stack)
    stack = f"tfonline {last.stack['version']} ({stack})" if last.stack else "not known: an older version has written the events"
    learned = max(s.step[-1] for s in model.series.values())
    about = [
        ("model folder", str(model.folder.path)),
        ("stream", f"{stream}, format {last.stack.get('message_format', '-')}, columns {f.get('columns', '-')}"),
        ("network", f"{f.get('network', '-')}, embedding {f.get('embedding_dim', '-')}, layers {f.get('deep_layers', '-')}"),
        ("runs", f"{len(model.runs):,}, from {when(model.runs[0].began)} to {when(last.last)} UTC"),
        ("learned", f"{count(model.last('train/stream/rows'))} rows, {learned:,} steps, {len(model.folder.windows):,} windows"),
        ("last checkpoint", saved.name or f"none ({saved.problem})"),
        ("runs on", stack),
    ]  # fmt: skip
    rows = "".join(f'<tr><td class="text">{escape(n)}</td><td class="text">{escape(v)}</td></tr>' for n, v in about)
    numbers = {m: model.last(f"running/quality/{m}") for m in ("log_loss", "ne", "auc", "calibration")}
    trivial, age = model.last("trivial/quality/log_loss"), model.last("train/stream/newest_row_age_secs")
    newest = model.published.versions[0] if model.published and model.published.versions else {}
    rejected, learned_from = model.last("train/stream/rejected_rows"), model.last("train/stream/rows")
    of_all = (rejected or 0) / max((rejected or 0) + (learned_from or 0), 1)
    shown = [
        ("log loss, recent rows", number(numbers["log_loss"]), f"{number(trivial)} by the share of clicks"),
        ("normalised entropy", number(numbers["ne"]), "below 1 is better than nothing"),
        ("AUC", number(numbers["auc"]), "0.5 is chance"),
        ("calibration", number(numbers["calibration"], 3), "1 is right"),
        ("lag, rows", count(model.last("train/stream/lag_rows")), "" if age is None else f"newest row {age:,.0f} s old"),
        ("refused rows", count(rejected), f"{share(of_all)} of all"),
        ("newest version", str(newest.get("version", "-")), f"{_age(newest.get('published'), now)} old" if newest else "none"),
    ]
    return (
        f"<header><h1>{escape(model.name)}</h1>{text(how_it_stands(model))}{cards(shown)}"
        f'<div class="wide"><table><tbody>{rows}</tbody></table></div></header>'
    )


def served(model: Model, now: float, title: str = "What is served", name: str = "served") -> str:
    """Versions with what the gate saw of them, refused ones with the reason, and their ages."""
    published, charts = model.published, [over_time(model, title, curves) for title, curves in _SERVED]
    if not published:
        return section(
            name, title, text("Nothing was published: the flags name no --export_dir that is there.", "soft"), grid(charts)
        )
    rows = []
    for v in published.versions:
        m, at, newest_row = v.get("metrics") or {}, v.get("published"), v.get("newest_row_time")
        row = [v["version"], when(at), _age(at, now), count(v.get("rows")), number(m.get("auc")), number(m.get("log_loss"))]
        row += [number(m.get("calibration"), 3), number(m.get("served_log_loss")), signed(m.get("regression"), 5)]
        rows.append([*row, _age(newest_row, at) if at else "-", v["state"]])
    head = ("version", "published (UTC)", "age", "rows", "AUC", "log loss", "calibration", "log loss before")
    head += ("difference", "newest row then", "state")
    refusals = [(when(r["time"]), f"{r['window']:,}", f"{r['step']:,}", r["why"]) for r in published.refused[-_MOST_REFUSALS:]]
    refusals_title = f"Refused by the gate: {len(published.refused):,}"
    return section(
        name,
        title,
        text(f"Publishing is paused: {published.paused}.", "bad") if published.paused else "",
        table(head, rows, texts=(10,)) or text("There is no version."),
        text(_GATE, "soft"),
        f"<h3>{refusals_title}</h3>" if refusals else "",
        table(("time (UTC)", "window", "step", "why"), reversed(refusals), texts=(3,)),
        grid(charts),
    )  # fmt: skip


def runs(model: Model) -> str:
    """Each run: when, which steps, on what, and which flags had changed."""
    rows, before = [], {}
    for n, run in enumerate(model.runs, 1):
        changed = [f"--{f}: {before[f]} → {v}" for f, v in run.flags.items() if f in before and before[f] != v]
        steps = "none" if run.first_step is None else f"{run.first_step:,} to {run.last_step:,}"
        on = f"{run.stack.get('version', '-')}, {run.stack.get('stack', '-')}"
        rows.append((n, when(run.began), when(run.last), steps, on, "; ".join(changed) or ("-" if before else "")))
        before = run.flags or before
    shown = rows[-_MOST_REFUSALS:]
    title = "Runs of the trainer" + (f", the last {_MOST_REFUSALS} of {len(rows):,}" if len(rows) > len(shown) else "")
    return section(
        "runs", title, table(("run", "began (UTC)", "last events", "steps told", "version", "flags changed"), shown, texts=(5,))
    )


def flags(model: Model) -> str:
    """All flags of the last run; files with secrets by their names alone."""
    rows = [(f"--{name}", shown_flag(value)) for name, value in model.folder.flags.items()]
    return section("flags", "Flags of the last run", hidden(f"{len(rows):,} flags", table(("flag", "value"), rows, texts=(0, 1))))


def _age(since: float | None, now: float) -> str:
    """How long ago a time was; "-" where it is not known."""
    if not since:
        return "-"
    secs = max(0.0, now - since)
    unit, length = next(((u, s) for u, s in (("d", 86400), ("h", 3600), ("min", 60)) if secs >= 2 * s), ("s", 1))
    return f"{secs / length:,.0f} {unit}"
