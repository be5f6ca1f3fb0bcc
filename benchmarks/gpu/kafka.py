"""Kafka to trained: a real broker beside it, the trainer's own command with checkpoints on, and where the cores' time goes."""

import json
import pathlib
import shutil
import subprocess
import sys
import time

from benchmarks.commands import ROOT, run, tool
from benchmarks.gpu.rows import make_dictionaries, make_rows
from benchmarks.gpu.sizes import SIZES, how

sys.path.insert(0, str(ROOT / "tools"))

import broker

_TOPIC, _PARTITIONS, _PRODUCERS = "tfonline_gpu", 32, 8
_FILE_ROWS = 1_000_000
_READ_SECS = 10
_SHOWN = 12  # threads, to standard error
# rows a batch, batches a call, compiled
_CASES = ((65_536, 1, False), (65_536, 1, True), (16_384, 1, False), (1000, 16, True))


def measure(context: dict) -> dict[str, float]:
    """Rows/s of producing, of reading alone, and of the whole way by batch; of the last, threads' seconds a second."""
    rows, folder = context["kafka_rows"], pathlib.Path(context["folder"])
    path = make_rows(context, _FILE_ROWS // context["shrink"])
    dictionaries = make_dictionaries(context, path)
    data = folder / "kafka"
    bootstrap = broker.start(data).bootstrap
    try:
        tool("topic.py", "create", f"--bootstrap_servers={bootstrap}", f"--topic={_TOPIC}", f"--partitions={_PARTITIONS}")
        found = {"produced, rows/s": _produce(bootstrap, path, rows, context)}
        if context["message_format"] == "tsv":  # of others an offset is no row, or what is read is no features' input
            found |= _read(bootstrap, context["reader_processes"])
        for batch, steps, jit_compile in _CASES:
            if not (jit_compile and context["without_xla"]):
                batch = max(1, batch // context["shrink"])
                found |= _train(folder, bootstrap, dictionaries, batch, steps, jit_compile, rows, context)
    finally:
        broker.stop(data)
        shutil.rmtree(data)
    return found


def _produce(bootstrap: str, path: pathlib.Path, rows: int, context: dict) -> float:
    command = [sys.executable, str(ROOT / "tools" / "produce.py"), str(path), "--loop", f"--limit={rows // _PRODUCERS}"]
    command += [f"--format={context['message_format']}", f"--rows_a_message={context['message_rows']}"]
    command += [f"--topic={_TOPIC}", f"--bootstrap_servers={bootstrap}"]
    began = time.perf_counter()
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) for _ in range(_PRODUCERS)]
    if sum(p.wait() for p in processes):
        sys.exit("a producer failed")
    return rows / (time.perf_counter() - began)


def _read(bootstrap: str, processes: int) -> dict[str, float]:
    """In a process of its own: this one has not loaded TensorFlow, and need not."""
    program = "import sys; from benchmarks.gpu.kafka import read_alone; print(read_alone(*sys.argv[1:]))"
    rate = float(run([sys.executable, "-c", program, bootstrap, str(processes)]).splitlines()[-1])
    return {f"reading alone, {processes} processes, rows/s": rate}


def read_alone(bootstrap: str, processes: str) -> float:
    """Rows/s from the topic to RawBatch by the consumer, in so many processes; 0: in this one."""
    from benchmarks.speed.reading import read_rows_per_sec
    from tfonline.stream.broker import KafkaTopic
    from tfonline.stream.window import Window

    topic = KafkaTopic(bootstrap, _TOPIC, "benchmark", {}, 10, None, print)
    ends = topic.ends()
    whole = Window(0, (0,) * len(ends), tuple(ends), "rows")
    return read_rows_per_sec("consumer", bootstrap, topic, [whole], _READ_SECS, int(processes), started=True)


def _train(
    folder: pathlib.Path, bootstrap: str, dictionaries: str, batch: int, steps: int, jit_compile: bool, rows: int, reading: dict
) -> dict[str, float]:
    size, model = SIZES["default"], folder / "model"
    shutil.rmtree(model, ignore_errors=True)
    command = [sys.executable, "-m", "tfonline.train", "--flagfile=configs/mindrec.flags", f"--bootstrap_servers={bootstrap}"]
    command += [f"--topic={_TOPIC}", f"--model_dir={model}", f"--dictionary_dir={dictionaries}", "--stop_at=latest"]
    command += [f"--vocab_size={size.vocab}", "--precision=bfloat16", f"--batch_size={batch}", f"--steps_per_call={steps}"]
    messages = rows // reading["message_rows"] if reading["message_format"] == "arrow" else rows
    command += [f"--window_rows={messages // 12}", "--checkpoint_every_steps=0", "--checkpoint_secs=10", "--report_secs=5"]
    command += ["--loss_log_every_steps=100", f"--jit_compile={jit_compile}"]
    processes = reading["reader_processes"]
    command += [f"--reader={reading['reader']}", f"--reader_processes={processes}"]
    command += [f"--message_format={reading['message_format']}", f"--decoder_processes={reading['decoder_processes']}"]
    with (folder / "train.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        busy = _threads(process, model / "status")
    if process.returncode:
        sys.exit(f"the trainer ended with exit code {process.returncode}\n{(folder / 'train.log').read_text()[-3000:]}")
    summary = json.loads((model / "summary.json").read_text())
    if summary["rows"] + summary["rejected"] != rows // _PRODUCERS * _PRODUCERS:
        sys.exit(f"{summary['rows']} rows trained and {summary['rejected']} refused of {rows}")
    decoders = f" and {reading['decoder_processes']}" if reading["decoder_processes"] else ""
    source = f"{reading['message_format']}, {reading['reader']}, {processes}{decoders} processes"
    named = f"Kafka to trained, {source}, batch {batch:,}{how(steps, jit_compile)}"
    found = {f"{named}, rows/s": summary["rows_per_sec"]}
    print((folder / "train.log").read_text()[-2500:], file=sys.stderr)
    return found | {f"{named}: cores busy, {name}": cores for name, cores in busy.items()}


def _threads(process: subprocess.Popen, status: pathlib.Path) -> dict[str, float]:
    """Cores that the trainer's threads, the broker and the whole trainer keep busy between windows 1 and 10."""
    first = last = None
    while process.poll() is None:
        time.sleep(0.2)
        words = status.read_text().split() if status.exists() else []
        window = int(words[words.index("window") + 1]) if "window" in words else 0
        if 1 <= window <= 10:
            now = time.perf_counter(), _cpu_secs(process.pid)
            first, last = first or now, now
    if not first or last[0] == first[0]:
        return {}
    busy = {n: (secs - first[1].get(n, 0.0)) / (last[0] - first[0]) for n, secs in last[1].items()}
    threads = {name: cores for name, cores in busy.items() if name.startswith("thread")}
    others = sorted(threads.values(), reverse=True)
    busiest = sorted(threads, key=threads.__getitem__, reverse=True)[:_SHOWN]
    print("".join(f"{name}: {threads[name]:.2f} cores\n" for name in busiest), file=sys.stderr)
    found = {n: busy[n] for n in ("broker", "Python", "its processes")} | {"the other threads together": sum(others)}
    return found | {"the busiest other thread": max(others, default=0.0), "others above 0.05": float(sum(c > 0.05 for c in others))}


def _cpu_secs(pid: int) -> dict[str, float]:
    """The seconds that the trainer's main thread (Python), its other threads, its processes and the broker have used."""
    found = {"broker": 0.0, "Python": 0.0, "its processes": 0.0}
    for stat in [*pathlib.Path(f"/proc/{pid}/task").glob("*/stat"), *pathlib.Path("/proc").glob("[0-9]*/stat")]:
        try:
            head, _, rest = stat.read_text().rpartition(")")
        except OSError:  # it has ended
            continue
        fields = rest.split()
        if stat.parents[1].name == "task":
            name = "Python" if stat.parent.name == str(pid) else f"thread {stat.parent.name} {head.partition('(')[2]}"
        elif head.endswith("(java"):
            name = "broker"
        elif fields[1] == str(pid):  # its parent
            name = "its processes"
        else:
            continue
        found[name] = found.get(name, 0.0) + (int(fields[11]) + int(fields[12])) / 100  # in hundredths of a second
    return found
