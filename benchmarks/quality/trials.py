"""What would predict better than configs/criteo.flags? Each idea alone upon a copy of that model, outside of the trainer:

    .venv-peers/bin/python -m benchmarks.quality.trials --rows=train.tsv.gz [--only=base,tide] [--seeds=3] [--processes=16]

It needs numpy and PyTorch alone. A trial is chosen by the first 5/7 of the rows: dictionaries from 5/7 of them, metrics of their
last 2/7. `--of=last` takes all rows, for the last 2/7 of them. Results are kept in <folder>/trials and are not made anew: a line of
results.jsonl each, with the logits beside.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import pathlib
import time

import numpy as np

from benchmarks.quality.orders import ORDERS, in_order
from benchmarks.quality.report import HEAD, metrics
from benchmarks.quality.trial_inputs import Inputs, Stream, read
from benchmarks.quality.trial_model import Variant, run

_BASE = Variant()
_INPUTS = _BASE.inputs


def _with(*names: str, **others) -> Variant:
    return Variant(inputs=(*_INPUTS, *names), **others)


def _instead(old: str, new: str, **others) -> Variant:
    return Variant(inputs=tuple(new if name == old else name for name in _INPUTS), **others)


def _replay(**others) -> Variant:
    return Variant(**({"replay": 2, "replay_rows": 20000} | others))


def _joint(**others) -> Variant:
    return Variant(**({"replay": 4, "replay_rows": 20000, "joint": True, "rate": 1e-3} | others))


_MORE = (
    "tide", "age", "seen", "each_pair", "triples", "triples:20", "shrunk:50", "over_ids", "gain:40", "gain:80", "gain:160",
    "decayed:20000", "pairs:20000", "pairs:60000", "gain:80, tide", "gain:80, triples", "gain:80, tide, triples",
    "gain:80, tide, triples, shrunk:50", "gain:80, gain:30",
)  # fmt: skip
_RATES = (0.003, 0.01, 0.03)
VARIANTS = {
    "base": _BASE,
    # Histories.
    "smoothing learned, ids": Variant(smooth="ids"),
    "smoothing learned, pairs": Variant(inputs=("history", "numeric"), smooth="pairs"),
    "smoothing learned, both": Variant(inputs=("history", "numeric"), smooth="ids,pairs"),
    **{f"ids decayed by {h}": _instead("history", f"decayed:{h}") for h in (5000, 20000, 60000)},
    **{f"and ids decayed by {h}": _with(f"decayed:{h}") for h in (2000, 5000, 20000, 60000)},
    "and ids decayed by 5000, 20000, 60000": _with("decayed:5000", "decayed:20000", "decayed:60000"),
    **{f"pairs decayed by {h}": _instead("pairs", f"pairs:{h}") for h in (5000, 20000, 60000)},
    **{f"and pairs decayed by {h}": _with(f"pairs:{h}") for h in (5000, 20000, 60000)},
    "pairs chosen by gain, 195": _instead("pairs", "gain:195"),
    "pairs chosen by gain, 80": _instead("pairs", "gain:80"),
    "and pairs chosen by gain, 80": _with("gain:80"),
    "and triples": _with("triples"),
    "and triples smoothed by 20": _with("triples:20"),
    "and pairs smoothed by 50": _with("shrunk:50"),
    "and pairs smoothed by 1": _with("shrunk:1"),
    "and pairs by how sure they are": _with("sure"),
    "and the share of pairs seen": _with("seen"),
    "and each pair": _with("each_pair"),
    "pairs over ids": _instead("pairs", "over_ids"),
    "and pairs over ids": _with("over_ids"),
    "and age": _with("age"),
    "and tide": _with("tide"),
    "without history": Variant(inputs=("pairs", "numeric")),
    # Embeddings.
    **{f"embeddings by FTRL, {r}": Variant(embedding="ftrl", embedding_rate=r) for r in _RATES},
    **{f"embeddings by Adagrad, {r}": Variant(embedding="adagrad", embedding_rate=r) for r in _RATES},
    **{f"embeddings by row-wise Adagrad, {r}": Variant(embedding="rowwise", embedding_rate=r) for r in _RATES},
    **{f"embeddings by Adam, {r}": Variant(embedding_rate=r) for r in (0.0, 1e-4, 2e-4, 1e-3)},
    **{f"embeddings by SGD, {r}": Variant(embedding="sgd", embedding_rate=r) for r in (0.1, 1.0)},
    **{f"embeddings averaged over {k} updates": Variant(average_embeddings=k) for k in (50, 250)},
    **{f"dropout {d}": Variant(dropout=d) for d in (0.1, 0.3, 0.5, 0.8)},
    "embeddings of 16": Variant(embedding_dim=16),
    # Rows more than once.
    "windows of 10000 again": Variant(epoch=10000),
    "windows of 1000 again": Variant(epoch=1000),
    "windows of 10000 again, all": Variant(epoch=10000, epoch_all=True),
    **{f"replay {k} of all": Variant(replay=k) for k in (1, 2, 4)},
    **{f"replay {k} of {r}": Variant(replay=k, replay_rows=r) for k in (1, 2, 4) for r in (10000, 20000, 50000)},
    "replay 2 of 5000": Variant(replay=2, replay_rows=5000),
    "replay 8 of 50000": Variant(replay=8, replay_rows=50000),
    **{
        f"replay {k} of 20000 in one step, rate {r}": Variant(replay=k, replay_rows=20000, joint=True, rate=r)
        for k in (2, 4)
        for r in (5e-4, 1e-3)
    },
    "replay 2 of all, rate 2.5e-4": _replay(replay_rows=0, rate=2.5e-4),
    "replay 4 of all, rate 1e-4": _replay(replay=4, replay_rows=0, rate=1e-4),
    "replay 2 of all, dropout 0.5": _replay(replay_rows=0, dropout=0.5),
    "replay 2 of all, layers 256-128": _replay(replay_rows=0, layers=(256, 128)),
    # Upon replay 2 of 20000.
    **{f"replay, layers {'-'.join(map(str, w))}": _replay(layers=w) for w in ((256,), (1024,), (2048,), (512, 256), (256, 128))},
    **{f"replay, and {name}": _replay(inputs=(*_INPUTS, *name.split(", "))) for name in _MORE},
    **{f"replay, average over {r}": _replay(average_rows=r) for r in (12_500, 50_000)},
    **{f"replay, embeddings by row-wise Adagrad, {r}": _replay(embedding="rowwise", embedding_rate=r) for r in (0.01, 0.03)},
    **{f"replay, embeddings by Adam, {r}": _replay(embedding_rate=r) for r in (2.5e-4, 1e-3)},
    **{f"replay, rate {r}": _replay(rate=r) for r in (2.5e-4, 3.5e-4, 7e-4)},
    **{f"replay, weight decay {d}": _replay(decay=d) for d in (0.03, 0.1, 0.3)},
    "replay, dropout 0.1": _replay(dropout=0.1),
    "replay, dropout 0.2": _replay(dropout=0.2),
    "replay, noise 0.1": _replay(noise=0.1),
    "replay, betas 0 0.999": _replay(betas=(0.0, 0.999)),
    "replay, DCN-v2 of rank 32": _replay(cross_rank=32),
    "replay, SwiGLU of 256": _replay(activation="swiglu", layers=(256,)),
    "replay, smoothing learned, both": _replay(inputs=("history", "numeric"), smooth="ids,pairs"),
    "replay, 4 towers": _replay(heads=4),
    "replay, 4 towers, gain:80, tide, triples": _replay(heads=4, inputs=(*_INPUTS, "gain:80", "tide", "triples")),
    "replay, layers 1024, gain:80, tide, triples": _replay(layers=(1024,), inputs=(*_INPUTS, "gain:80", "tide", "triples")),
    # In one step with the new batch.
    **{
        f"joint {k} of {r}, layers {w}, rate {rate}": _joint(replay=k, replay_rows=r, layers=(w,), rate=rate)
        for k, r, w, rate in (
            (2, 20000, 256, 1e-3),
            (2, 20000, 256, 2e-3),
            (4, 20000, 256, 1e-3),
            (4, 20000, 256, 2e-3),
            (4, 20000, 512, 2e-3),
            (4, 20000, 512, 1.5e-3),
            (2, 50000, 512, 1e-3),
            (4, 50000, 512, 1e-3),
            (4, 20000, 1024, 1e-3),
            (4, 10000, 512, 1e-3),
            (8, 20000, 256, 1e-3),
            (8, 50000, 512, 1e-3),
        )
    },
    "joint, embeddings by Adam, 0.001": _joint(embedding_rate=1e-3),
    **{f"joint, embeddings by row-wise Adagrad, {r}": _joint(embedding="rowwise", embedding_rate=r) for r in (0.01, 0.02, 0.03)},
    **{
        f"joint, row-wise, and {name}": _joint(embedding="rowwise", embedding_rate=0.01, inputs=(*_INPUTS, *name.split(", ")))
        for name in (
            "tide",
            "gain:80",
            "gain:80, tide",
            "gain:80, triples:20, tide",
            "triples:20, tide",
            "gain:40, tide",
            "gain:160, tide",
            "ring:38",
            "ring:38, tide",
            "gain:80, ring:38, tide",
            "over_ids, tide",
            "gain:80, shrunk:50, tide",
            "gain:80, age, tide",
            "sides",
            "sides, tide",
            "far:14",
            "far:20",
            "far:20, tide",
        )
    },
    **{
        f"joint, row-wise, gain:80, tide, {name}": _joint(
            **({"embedding": "rowwise", "embedding_rate": 0.01, "inputs": (*_INPUTS, "gain:80", "tide")} | others)
        )
        for name, others in {
            "layers 1024": {"layers": (1024,)},
            "layers 256": {"layers": (256,)},
            "4 towers": {"heads": 4},
            "2 of 20000": {"replay": 2},
            "2 of 50000": {"replay": 2, "replay_rows": 50000},
            "4 of 50000": {"replay_rows": 50000},
            "rate 5e-4": {"rate": 5e-4},
            "rate 7e-4": {"rate": 7e-4},
            "rate 1.5e-3": {"rate": 1.5e-3},
            "average over 50000": {"average_rows": 50_000},
            "embeddings 0.005": {"embedding_rate": 0.005},
            "dropout 0.1": {"dropout": 0.1},
            "weight decay 0.1": {"decay": 0.1},
            "Adam": {"embedding": "adam", "embedding_rate": 1e-3},
            "betas 0 0.999": {"betas": (0.0, 0.999)},
            "no history": {"inputs": ("pairs", "numeric", "gain:80", "tide")},
            "DCN-v2 of rank 32": {"cross_rank": 32},
        }.items()
    },
    # Labels, layers.
    **{f"label smoothing {s}": Variant(smoothing=s) for s in (0.01, 0.05, 0.1)},
    "gates": Variant(gate="static"),
    "gates by row": Variant(gate="rows"),
    **{f"DCN-v2 of rank {k}": Variant(cross_rank=k) for k in (8, 32)},
    "DCN-v2 of rank 32, one layer": Variant(cross_rank=32, cross_layers=1),
    **{f"layers {'-'.join(map(str, w))}": Variant(layers=w) for w in ((1024,), (2048,), (512, 256), (256, 128, 64))},
    "SwiGLU": Variant(activation="swiglu"),
    "SwiGLU of 256": Variant(activation="swiglu", layers=(256,)),
    "Mish": Variant(activation="mish"),
    **{f"{k} towers": Variant(heads=k) for k in (2, 4)},
    "noise 0.1": Variant(noise=0.1),
    "noise 0.3": Variant(noise=0.3),
    # Adam and averages.
    **{f"betas {a} {b}": Variant(betas=(a, b)) for a, b in ((0.9, 0.99), (0.9, 0.9999), (0.8, 0.999), (0.95, 0.999), (0.0, 0.999))},
    **{f"epsilon {e}": Variant(epsilon=e) for e in (1e-6, 1e-4, 1e-3)},
    **{f"rate {r}": Variant(rate=r) for r in (2.5e-4, 1e-3, 2e-3)},
    **{f"rate falls to {r}": Variant(rate=1e-3, rate_end=r) for r in (0.1, 0.25)},
    **{f"weight decay {w}": Variant(decay=w) for w in (0.01, 0.1, 1.0)},
    **{f"average over {r}": Variant(average_rows=r) for r in (10_000, 50_000, 100_000)},
    **{f"wide rate {r}": Variant(wide_rate=r) for r in (1e-5, 0.001, 0.006)},
    **{f"wide l2 {r}": Variant(wide_l2=r) for r in (10.0, 100.0)},
}


def main() -> None:
    """Makes what is not there yet, and prints a line a variant; the best AUC first."""
    args = _parse()
    os.umask(0o077)  # the folder holds somebody's rows
    folder = pathlib.Path(args.folder) / "trials"
    of = args.of if args.order == "forward" else f"{args.of}-{args.order}"
    (folder / of).mkdir(parents=True, exist_ok=True)
    read(args.rows, folder / "stream.npz")
    names = args.only.split(";") if args.only else list(VARIANTS)
    done = {(r["variant"], r["seed"]) for r in results(folder) if r["of"] == of}
    jobs = [(name, seed) for seed in range(1, args.seeds + 1) for name in names if (name, seed) not in done]
    inputs = {
        i
        for name, _ in jobs
        for i in (*VARIANTS[name].inputs, *(f"{s[:-1]}_counts" for s in VARIANTS[name].smooth.split(",") if s))
    }
    spawn = multiprocessing.get_context("spawn")
    of_all = folder, args.of, args.order, args.device
    with concurrent.futures.ProcessPoolExecutor(args.processes, spawn, _start, of_all) as pool:
        for job in [pool.submit(_make, name) for name in sorted(inputs)]:
            job.result()
        for job in concurrent.futures.as_completed([pool.submit(_try, *job) for job in jobs]):
            with (folder / "results.jsonl").open("a") as f:
                f.write(json.dumps(job.result() | {"of": of}) + "\n")
    print("\n".join(table(folder, of)))


def results(folder: pathlib.Path) -> list[dict]:
    """What is kept."""
    path = folder / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def logits_path(folder: pathlib.Path, of: str, name: str, seed: int) -> pathlib.Path:
    """Of the logits of the last 2/7, float16."""
    return folder / of / f"logits-{name.replace(' ', '_')}-{seed}.npy"


def table(folder: pathlib.Path, of: str) -> list[str]:
    """Means over the seeds; the gain is over the base by the same seeds."""
    by_name: dict[str, dict[int, dict]] = {}
    for result in results(folder):
        if result["of"] == of:
            by_name.setdefault(result["variant"], {})[result["seed"]] = result
    base = by_name.get("base", {})
    lines = []
    for name, seeds in by_name.items():
        mean = {k: np.mean([r[k] for r in seeds.values()]) for k in ("auc", "log_loss", "calibration", "secs")}
        gains = [r["auc"] - base[seed]["auc"] for seed, r in seeds.items() if seed in base]
        gain = f"{np.mean(gains):+.5f} ± {np.std(gains) / max(len(gains), 1) ** 0.5:.5f}" if gains else ""
        cells = [
            name,
            len(seeds),
            f"{mean['auc']:.5f}",
            gain,
            f"{mean['log_loss']:.5f}",
            f"{mean['calibration']:.3f}",
            f"{mean['secs']:.0f}",
        ]
        lines.append((mean["auc"], f"| {' | '.join(map(str, cells))} |"))
    head = ["| variant | seeds | AUC | over the base | log loss | calibration | s |", "|---|---|---|---|---|---|---|"]
    return [*head, *(line for _, line in sorted(lines, reverse=True))]


_here: dict = {}  # of a process


def _start(folder: pathlib.Path, of: str, order: str, device: str) -> None:
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # Adam's slots of what never comes fall without end
    stream = read("", folder / "stream.npz")
    rows = in_order(len(stream.labels), order)
    if of == "choose":
        rows = rows[: int(len(rows) * HEAD)]
    where = folder / (of if order == "forward" else f"{of}-{order}")
    _here.update(inputs=Inputs(Stream(*(part[rows] for part in stream)), where), folder=folder, of=where.name, device=device)


def _make(name: str) -> None:
    _here["inputs"].get(name)


def _try(name: str, seed: int) -> dict:
    began = time.monotonic()
    inputs = _here["inputs"]
    logits = run(VARIANTS[name], inputs, seed, _here["device"])
    head = int(inputs.n * HEAD)
    np.save(logits_path(_here["folder"], _here["of"], name, seed), logits[head:].astype(np.float16))
    found = metrics(logits[head:], inputs.labels[head:])
    settings = {k: v for k, v in dataclasses.asdict(VARIANTS[name]).items() if v != getattr(_BASE, k)}
    return {"variant": name, "seed": seed, **found, "secs": round(time.monotonic() - began, 1), "settings": settings}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", required=True, help="rows in Criteo's format, in time order, TSV, plain or .gz")
    parser.add_argument("--folder", default="runs/quality", help="results are in its folder `trials` (default runs/quality)")
    parser.add_argument("--only", help="names of variants, with `;` between them (default: all)")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu: a step is small)")
    parser.add_argument("--of", choices=("choose", "last"), default="choose", help="see above")
    parser.add_argument("--order", choices=ORDERS, default="forward", help="of the rows")
    return parser.parse_args()


if __name__ == "__main__":
    main()
