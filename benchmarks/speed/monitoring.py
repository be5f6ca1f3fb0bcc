"""What it costs that Prometheus asks a trainer once a second how it does: the same rows trained with --monitor_port, and without.

    python -m benchmarks.speed --only=monitoring

Runs are processes of their own, in turns (without, with, with, without, ...), and the ratio is of two neighbours: a shared machine
is not as fast from one minute to the next. CPU time says it beside rows a second. Surest is what the answers themselves took: the
time of their threads, which is all that asking adds.
"""

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from benchmarks.commands import ROOT, free_port

_PAIRS = 4
_COPIES = 2  # of the rows: partitions of one run
_FLAGS = {"columns": "configs/criteo.yaml", "batch_size": 1000, "stop_at": "latest", "report_secs": 10.0, "checkpoint_secs": 20.0}


def measure(context: dict) -> dict[str, float]:
    """Medians over pairs of runs, asked / not asked, of rows a second and of CPU time; and what answers took."""
    rates, cpus, shares, answers = [], [], [], []
    for pair in range(_PAIRS):
        order = (False, True) if pair % 2 == 0 else (True, False)
        runs = {asked: _train(context, asked) for asked in order}
        rates.append(runs[True]["rows_per_sec"] / runs[False]["rows_per_sec"])
        cpus.append(runs[True]["cpu_secs"] / runs[False]["cpu_secs"])
        shares.append(runs[True]["answer_secs"] / runs[True]["secs"])
        answers.append(1000 * runs[True]["answer_secs"] / max(1, runs[True]["answers"]))
        print(f"pair {pair}: rows/s {rates[-1]:.4f}, CPU {cpus[-1]:.4f}, {runs}", file=sys.stderr, flush=True)
    return {
        "monitored, rows/s, ratio": statistics.median(rates),
        "monitored, CPU time, ratio": statistics.median(cpus),
        "monitored, an answer, ms of CPU": statistics.median(answers),
        "monitored, answers, share of a core": statistics.median(shares),
    }


def _train(context: dict, asked: bool) -> dict[str, float]:
    """A run in a process of its own, asked once a second or not at all."""
    port = free_port()
    with tempfile.TemporaryDirectory(dir=context["folder"]) as folder:
        copies = [pathlib.Path(folder, f"rows_{i}.tsv") for i in range(_COPIES)]
        for copy in copies:
            copy.symlink_to(context["rows"])
        flags = _FLAGS | {"dictionary_dir": context["dictionaries"], "model_dir": f"{folder}/model"}
        flags |= {"input_files": ",".join(map(str, copies)), "monitor_port": port if asked else 0}
        command = [sys.executable, "-m", "benchmarks.speed.monitoring", json.dumps(flags)]
        over = threading.Event()
        asking = threading.Thread(target=_ask, args=(port, over))
        if asked:
            asking.start()
        try:
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        finally:
            over.set()
            if asked:
                asking.join()
    return json.loads(done.stdout.splitlines()[-1])


def _ask(port: int, over: threading.Event) -> None:
    while not over.wait(1.0):
        # Not there yet, or no more.
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            answer.read()


def _run(flags: dict) -> dict[str, float]:
    """Trains here; what the loop took, and what the answers did meanwhile."""
    from tfonline import config, loop
    from tfonline.monitor.metrics import Metrics
    from tfonline.train import run

    found = {"answers": 0, "answer_secs": 0.0}
    train, text = loop.train, Metrics.text

    def timed_train(*args: object, **named: object) -> int | None:
        began, cpu = time.perf_counter(), time.process_time()
        found.update(answers=0, answer_secs=0.0)  # of the loop alone
        dropped = train(*args, **named)
        found.update(secs=time.perf_counter() - began, cpu_secs=time.process_time() - cpu)
        return dropped

    def timed_text(metrics: Metrics) -> bytes:
        began = time.thread_time()
        answer = text(metrics)
        found["answers"] += 1
        found["answer_secs"] += time.thread_time() - began
        return answer

    loop.train, Metrics.text = timed_train, timed_text
    summary = run(config.of_flags(**flags)).summary
    return found | {"rows_per_sec": summary["rows_per_sec"]}


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print(json.dumps(_run(json.loads(sys.argv[1]))))
