"""How near to the limit of the GPU tfonline trains on this machine:

    python -m benchmarks.gpu [--only=training,placement] [--folder=runs/gpu] [--rows=FILE.tsv]

Each part is a process of its own, and takes less than eight minutes. Figures go to <folder>/results.jsonl as they come, and as a
table to <folder>/table.md; what was measured on is the first line of both. Without a GPU it runs on the CPU, which says nothing but
that it runs: --quick makes the sizes small.
"""

import argparse
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import tfonline  # noqa: F401 - says how TensorFlow multiplies; the parts inherit it
from benchmarks.commands import PEERS_PYTHON, ROOT

_XLA = {"jit_compile": True}
# part: [(module, what else it is told)], each a process.
_PARTS: dict[str, list[tuple[str, dict]]] = {
    "placement": [("placement", {}), ("placement", _XLA)],
    "training": [
        ("training", {"precision": precision, "tf32": tf32, **xla})
        for precision, tf32 in (("bfloat16", True), ("float32", True), ("float32", False))
        for xla in ({}, _XLA)
    ],
    "replicas": [
        ("replicas", {"exchange": exchange, **xla})
        for exchange, xla in (("", {}), ("own", {}), ("strategy", {}), ("", _XLA), ("own", _XLA))
    ],
    "growing": [("growing", {"precision": "bfloat16", **_XLA})],
    "raw": [("raw", {"part": "features"}), ("raw", {"part": "trained"})],
    "kafka": [("kafka", {})],
    "peers": [("keras_peer", {}), ("torch_peer", {})],
    "correct": [("correct", {})],
}


def main() -> None:
    """Measures part by part and prints the table."""
    args = _parse()
    if args.part:
        module = importlib.import_module(f"benchmarks.gpu.{args.part}")
        print(json.dumps(module.measure(json.loads(args.context))))
        return
    if unknown := set(args.only.split(",")) - set(_PARTS):
        sys.exit(f"--only={args.only}: no part {', '.join(sorted(unknown))}. There are {', '.join(_PARTS)}.")
    folder = pathlib.Path(args.folder)
    folder.mkdir(parents=True, exist_ok=True)
    machine, failed = _machine(), 0
    print(machine, flush=True)
    lines = [machine, "", "| figure | measured |", "|---|---|"]
    with tempfile.TemporaryDirectory(prefix="tfonline-gpu-") as temporary, (folder / "results.jsonl").open("a") as results:
        results.write(json.dumps({"machine": machine}) + "\n")
        context = {"folder": temporary, "rows": args.rows and str(pathlib.Path(args.rows).resolve())}
        context |= {"jit_compile": False, "without_xla": args.without_xla, "replicas": args.replicas}
        context |= {name: getattr(args, name) for name in ("reader", "reader_processes", "decoder_processes")}
        context |= {name: getattr(args, name) for name in ("message_format", "message_rows")}
        context |= (
            {"shrink": 100, "secs": 0.2, "kafka_rows": 24_000}
            if args.quick
            else {"shrink": 1, "secs": 1.5, "kafka_rows": args.kafka_rows}
        )
        for part in (p for p in _PARTS if p in args.only.split(",")):
            for module, more in _PARTS[part]:
                if args.without_xla and more.get("jit_compile"):
                    continue
                began = time.monotonic()
                figures = _measure(module, context | more)
                failed += not figures
                for name, value in figures.items():
                    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"
                    print(f"{name:<90}{text:>14}", flush=True)
                    results.write(json.dumps({"part": part, "name": name, "value": value}) + "\n")
                    results.flush()
                    lines.append(f"| {name} | {text} |")
                print(f"({part}: {time.monotonic() - began:.0f} s)", flush=True)
                (folder / "table.md").write_text("\n".join(lines) + "\n")
    sys.exit(failed)


def _measure(module: str, context: dict) -> dict[str, float]:
    """A part in a process of its own; {} where it fails, as the other parts may not."""
    # The tools are programs of their own, which find the trainer where it is not installed, too.
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-m", "benchmarks.gpu", f"--part={module}", f"--context={json.dumps(context)}"]
    if module == "torch_peer":
        # PyTorch stands in the machine's own Python, which what was put before it for TensorFlow would hide.
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LD_LIBRARY_PATH")}
        command[0] = str(PEERS_PYTHON) if PEERS_PYTHON.exists() else "python3"
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"{module} {context} FAILED with exit code {done.returncode}\n{done.stdout[-2000:]}", flush=True)
        return {}
    return json.loads(done.stdout.splitlines()[-1])


def _machine() -> str:
    """GPUs, by nvidia-smi, and cores."""
    try:
        command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        gpus = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        gpus = []
    return f"{'; '.join(gpus) or 'no GPU'}; {len(os.sched_getaffinity(0))} cores"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(_PARTS), help=f"parts, comma separated (default: {','.join(_PARTS)})")
    parser.add_argument("--folder", default=str(ROOT / "runs" / "gpu"), help="of results and table (default runs/gpu)")
    parser.add_argument("--rows", default="", help="a TSV file of Criteo rows; none: synthetic ones")
    parser.add_argument("--replicas", type=int, default=2, help="GPUs that are set against one (default 2)")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--without_xla", action="store_true", help="nothing compiled: where a GPU has no cuDNN 8 or no ptxas")
    parser.add_argument("--reader", default="auto", help="of the part kafka, as the trainer's flag (default auto)")
    parser.add_argument("--reader_processes", type=int, default=0, help="of the part kafka, as the trainer's flag (default 0)")
    parser.add_argument("--decoder_processes", type=int, default=0, help="of the part kafka, as the trainer's flag (default 0)")
    parser.add_argument("--message_format", default="tsv", help="of the part kafka, as the trainer's flag (default tsv)")
    parser.add_argument("--message_rows", type=int, default=1000, help="of the part kafka: of an Arrow message (default 1,000)")
    parser.add_argument("--kafka_rows", type=int, default=24_000_000, help="of the part kafka: in the topic (default 24,000,000)")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--context", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
