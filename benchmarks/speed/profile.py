"""Where an end-to-end second goes: a picture of the trainer's threads, and each kind of work's share of the second."""

import collections
import itertools
import pathlib
import threading
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from benchmarks.speed.data import precisions

_SECS = 1.0
_DRAWN_MS = 300  # of the second
_LEAST_MS = 0.05  # what is shorter is not drawn
_WIDTH, _LANE, _LEFT = 1100, 26, 110

# kind: (colour, words in the op's type); the first that fits.
_KINDS = {
    "products": ("#4269d0", ("MatMul",)),
    "Adam": ("#ff725c", ("ApplyAdam",)),
    "tables": ("#efb118", ("ResourceGather", "ResourceScatter", "Unique", "SegmentSum", "SparseApply")),
    "the step's other ops": ("#a463f2", ()),
    "features": ("#3ca951", ()),
    "reading": ("#6cc5b0", ()),
    "Python": ("#9c6b4e", ()),
}


class Span(NamedTuple):
    """A stretch of a thread's time: milliseconds since the second's beginning, and its kind."""

    lane: str
    start: float
    length: float
    kind: str


def measure(context: dict) -> dict[str, float]:
    """Milliseconds a second of each kind, at batch 1,000 and the best precision; the picture goes to `picture`."""
    import tensorflow as tf

    from tfonline import train
    from tfonline.config import parse
    from tfonline.lifecycle import Stop

    model_dir, log = pathlib.Path(context["folder"]) / "profiled", f"{context['folder']}/profile"
    stop = Stop()

    def profile() -> None:
        while not (model_dir / "status").exists() or " window 3 " not in (model_dir / "status").read_text():
            time.sleep(0.1)
        tf.profiler.experimental.start(log)
        time.sleep(_SECS)
        tf.profiler.experimental.stop()
        stop.request("the benchmark")

    threading.Thread(target=profile, daemon=True).start()
    flags = ["--flagfile=configs/mindrec.flags", "--batch_size=1000", f"--precision={precisions()[-1]}", "--window_rows=10000"]
    flags += [f"--bootstrap_servers={context['bootstrap']}", f"--topic={context['topic']}", f"--model_dir={model_dir}"]
    train.run(parse(["", *flags, f"--dictionary_dir={context['dictionaries']}", "--report_secs=3600"]), stop)
    spans = list(_spans(next(pathlib.Path(log).rglob("*.xplane.pb")).read_bytes()))
    totals = collections.Counter()
    for span in spans:
        totals[span.kind] += span.length / _SECS
    pathlib.Path(context["picture"]).write_text(draw(spans, totals))
    return {f"profile: {kind}, ms a second": totals[kind] for kind in _KINDS}


def _spans(profile: bytes) -> Iterator[Span]:
    """What the threads did, without what only waits or calls another op."""
    from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

    host = next(plane for plane in XSpace.FromString(profile).planes if plane.name == "/host:CPU")
    begin = min(line.timestamp_ns for line in host.lines)
    lanes = collections.Counter()
    for line in host.lines:
        name = line.name.split("/")[0]
        lanes[name] += 1
        offset = (line.timestamp_ns - begin) / 1e6
        events = [(host.event_metadata[e.metadata_id].name, offset + e.offset_ps / 1e9, e.duration_ps / 1e9) for e in line.events]
        if name == "tf_Compute":
            lane = f"train step {lanes[name]}"
            yield from (Span(lane, at, ms, _kind(op)) for op, at, ms in events if ":" in op and "::" not in op)
        elif name == "tf_data_private_threadpool":
            ops = ((op, at, ms) for op, at, ms in events if ":" in op and "::" not in op)
            yield from (
                Span("features", at, ms, "reading" if "Kafka" in op or "PyFunc" in op else "features") for op, at, ms in ops
            )
        elif name == "tf_data_iterator_resource":
            yield from (Span("reading", at, ms, "reading") for op, at, ms in events if op == "ParallelInterleaveProduce")
        elif name == "python" and any(op == "KernelAndDeviceFunc::Run" for op, _, _ in events):
            yield from _between([(at, ms) for op, at, ms in events if op == "KernelAndDeviceFunc::Run"])


def _between(steps: list[tuple[float, float]]) -> Iterator[Span]:
    """The main thread's time outside the train step."""
    steps = sorted(steps)
    for (at, ms), (following, _) in itertools.pairwise(steps):
        yield Span("Python", at + ms, max(0.0, following - at - ms), "Python")


def _kind(op: str) -> str:
    of_type = op.rsplit(":", 1)[1]
    return next((kind for kind, (_, words) in _KINDS.items() if any(w in of_type for w in words)), "the step's other ops")


def draw(spans: Iterable[Span], totals: dict[str, float]) -> str:
    """An SVG: a lane a group of threads over `_DRAWN_MS`, and under it the kinds with their milliseconds a second."""
    scale = (_WIDTH - _LEFT) / _DRAWN_MS
    lanes = ["Python", "train step 1", "train step 2", "features", "reading"]
    height = _LANE * (len(lanes) + 3)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="13">']
    parts.append(f'<rect width="{_WIDTH}" height="{height}" fill="white"/>')
    for i, lane in enumerate(lanes):
        parts.append(f'<text x="4" y="{_LANE * i + 17}">{lane}</text>')
        for span in spans:
            if span.lane == lane and span.length >= _LEAST_MS and span.start < _DRAWN_MS:
                x, width = _LEFT + span.start * scale, min(span.length, _DRAWN_MS - span.start) * scale
                box = f'x="{x:.1f}" y="{_LANE * i + 3}" width="{width:.1f}" height="{_LANE - 6}"'
                parts.append(f'<rect {box} fill="{_KINDS[span.kind][0]}" fill-opacity="0.8"/>')
    y = _LANE * len(lanes) + 17
    parts += [f'<text x="{_LEFT + ms * scale:.0f}" y="{y}" fill="gray">{ms} ms</text>' for ms in range(0, _DRAWN_MS, 50)]
    x = 4
    for kind, (colour, _) in _KINDS.items():
        text = f"{kind} {totals.get(kind, 0):,.0f}"
        parts.append(f'<rect x="{x}" y="{_LANE * (len(lanes) + 1) + 6}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 16}" y="{_LANE * (len(lanes) + 1) + 17}">{text}</text>')
        x += 36 + 7 * len(text)
    caption = "milliseconds of thread time in a second; a product takes both cores while it runs alone"
    parts.append(f'<text x="4" y="{_LANE * (len(lanes) + 2) + 17}" fill="gray">{caption}</text></svg>')
    return "\n".join(parts) + "\n"
