"""Rows per second from Kafka to trained, with the replaced system's sizes, beside training alone in the same run.

    python benchmarks/end_to_end.py                    configs/mindrec.flags at batch 1,000
    python benchmarks/end_to_end.py --batch_size=100

Each round is a new process of the trainer over the same topic, checkpoints on, after which a process trains the same number of
batches from memory, features ready. Figures are medians over the rounds with their spread; the matrix rate, measured before each
round at the size of the first layer, tells how quiet the machine was.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

_ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT / "tools"))

import broker  # noqa: E402 - tools/ is put on the path above

_TOPIC = "tfonline_benchmark"


def main() -> None:
    """Prints a line a round, then the medians."""
    args = _parse()
    if args.alone:
        print(json.dumps(_train_alone(args)))
        return
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tfonline-benchmark-"))
    kafka = broker.start(folder / "kafka")
    try:
        _tool("topic.py", "create", f"--bootstrap_servers={kafka.bootstrap}", f"--topic={_TOPIC}")
        _tool("synthetic.py", f"--rows={args.rows}", f"--output={folder / 'rows.tsv'}")
        _tool("produce.py", f"--bootstrap_servers={kafka.bootstrap}", f"--topic={_TOPIC}", folder / "rows.tsv")
        _tool("process_data.py", folder / "rows.tsv", f"--output_dir={folder / 'dictionaries'}")
        rounds = [_round(args, folder, kafka.bootstrap) for _ in range(args.rounds)]
    finally:
        broker.stop(folder / "kafka")
        shutil.rmtree(folder)
    print(f"\n{'':<32}{'median':>10}{'least':>10}{'most':>10}")
    for name in rounds[0]:
        values = [r[name] for r in rounds]
        print(f"{name:<32}{statistics.median(values):>10,.2f}{min(values):>10,.2f}{max(values):>10,.2f}")


def _round(args: argparse.Namespace, folder: pathlib.Path, bootstrap: str) -> dict[str, float]:
    model_dir = folder / "model"
    shutil.rmtree(model_dir, ignore_errors=True)
    _run(
        [sys.executable, "-m", "tfonline.train", "--flagfile=configs/mindrec.flags", f"--batch_size={args.batch_size}"]
        + [f"--bootstrap_servers={bootstrap}", f"--topic={_TOPIC}", f"--dictionary_dir={folder / 'dictionaries'}"]
        + [f"--model_dir={model_dir}", "--stop_at=latest", "--window_rows=10000", "--report_secs=3600"]
    )
    end_to_end = json.loads((model_dir / "summary.json").read_text())["rows_per_sec"]
    alone = json.loads(_run([sys.executable, __file__, "--alone", f"--batch_size={args.batch_size}"]).splitlines()[-1])
    result = {"Kafka to trained, rows/s": end_to_end, **alone}
    result["Kafka to trained / alone"] = end_to_end / alone["training alone, rows/s"]
    print(json.dumps({k: round(v, 2) for k, v in result.items()}), flush=True)
    return result


def _train_alone(args: argparse.Namespace) -> dict[str, float]:
    """Training on features in memory, and the matrix rate, in a process of its own."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import numpy as np
    import tensorflow as tf

    from tfonline.config import parse
    from tfonline.model.step import Learner, Rates, make_strategy
    from tfonline.model.wide_deep import make_model

    config = parse(["", f"--flagfile={_ROOT / 'configs' / 'mindrec.flags'}"])
    strategy = make_strategy(1, "auto")
    with strategy.scope():
        model = make_model(config, config.vocab_size, 39, 0)
    rates = Rates(**{name: getattr(config, name) for name in Rates.__dataclass_fields__})
    learner = Learner(strategy, model, rates)
    random, rows = np.random.default_rng(1), args.batch_size

    none = tf.zeros([rows, 0]), tf.zeros([rows, 0], tf.int32)  # no numbers and no crosses

    def batch():
        ids = tf.constant((random.zipf(1.2, (rows, 39)) % config.vocab_size).astype(np.int32))
        label = tf.constant(random.integers(0, 2, rows).astype(np.float32))
        return label, ids, tf.ones([rows, 39]), *none, tf.ones([rows])

    batches = [batch() for _ in range(8)]
    x, y = tf.random.normal([rows, 39 * config.embedding_dim]), tf.random.normal([39 * config.embedding_dim, config.layers[0]])
    multiply = tf.function(lambda: tf.reduce_sum(x @ y), autograph=False)
    multiply_secs = _median_secs(lambda _: multiply().numpy(), 30)
    step_secs = _median_secs(lambda i: learner.train(*batches[i % 8]).logits.numpy(), max(10, 20_000 // rows))
    return {
        "training alone, rows/s": rows / step_secs,
        "matrix rate, GFLOP/s": 2 * rows * x.shape[1] * y.shape[1] / multiply_secs / 1e9,
    }


def _median_secs(step, times: int) -> float:
    secs = []
    for i in range(times + 3):  # the first three trace and warm up
        start = time.perf_counter()
        step(i)
        secs.append(time.perf_counter() - start)
    return statistics.median(secs[3:])


def _tool(name: str, *options: object) -> None:
    _run([sys.executable, _ROOT / "tools" / name, *options])


def _run(command: list[object]) -> str:
    return subprocess.run([str(c) for c in command], check=True, cwd=_ROOT, stdout=subprocess.PIPE, text=True).stdout


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000, help="synthetic rows in the topic (default 60,000)")
    parser.add_argument("--batch_size", type=int, default=1000, help="rows a step (default 1,000)")
    parser.add_argument("--rounds", type=int, default=3, help="(default 3)")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
