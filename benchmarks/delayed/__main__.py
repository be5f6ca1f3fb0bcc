"""Labels that come late, on real rows with planted delays: make delayed, or

    python -m benchmarks.delayed --rows=train.tsv.gz [--seeds=3] [--kills=20] [--parts=policies,join,negatives]

policies: what each of --late_labels wins back. join: rows and outcomes as two topics, the trainer killed, see joined.py. negatives:
what --keep_negatives=0.1 gives, see benchmarks/negatives.

Of the policies: a model learns the first rows with all their labels. The others come as a stream over two months; each is scored by
the model of that moment, and policies learn of them what they may know. `frozen` learns nothing more, `oracle` each label at once.
Of the way from frozen to oracle, in AUC and in log loss, a policy has gone a share. fnw, fnc and es_dfm have no labels beforehand:
they learn the first rows, too, as their labels came. Waits and elapsed times are chosen on the first half of the stream, and
everything is judged on the second. Scores are kept in --folder and are not made anew.
"""

import argparse
import json
import os
import pathlib
import sys

import numpy as np

from benchmarks.commands import ROOT, run
from benchmarks.delayed import report
from benchmarks.delayed.joined import measured
from benchmarks.delayed.planted import A_DAY, ROWS, delays
from benchmarks.delayed.schedule import Way
from benchmarks.quality.scores import labels_of, plain_rows

_WAITS = (15, 45, 105, 210, 450)  # windows: 1 day to 30
_ELAPSED = (1, 4, 15, 45, 105, 210)  # 1.6 hours to 14 days
# Without the past of ids: benchmarks/delayed/README.md says what it does to rows that come once more.
_FLAGS = f"--flagfile={ROOT}/configs/growing.flags --nohistory --cross_buckets=0"
_WAYS = [
    Way("frozen", "wait", "frozen"),
    Way("oracle", "wait", "oracle"),
    Way("naive", "wait", "at_once"),
    *(Way("daily batch", "wait", "daily", windows) for windows in _WAITS),
    *(Way("wait", "wait", "settled", windows) for windows in _WAITS),
    Way("fnw", "fnw", "at_once"),
    Way("fnc", "fnc", "at_once"),
    *(Way("es_dfm", "es_dfm", "elapsed", windows) for windows in _ELAPSED),
]


def main() -> None:
    """Measures what is asked for; prints the closing line."""
    args = _parse()
    os.umask(0o077)  # the folder holds somebody's rows
    found = []
    if "policies" in args.parts:
        found.append(_policies(args))
    if "join" in args.parts:
        found.append(" ".join(f"{name}={value}" for name, value in measured(args.rows, args.kills, args.turns, seed=1).items()))
    if "negatives" in args.parts:
        *words, last = run([sys.executable, "-m", "benchmarks.negatives"]).splitlines()
        print("\n".join(words))
        values = dict(word.split("=") for word in last.split()[1:])
        found.append(" ".join(f"negatives_{name}={values[name]}" for name in ("speed", "log_loss", "calibration", "tenths")))
    print(f"delayed: {' '.join(found)}")


def _policies(args: argparse.Namespace) -> str:
    """Makes the scores that are not there, prints the table; gives the closing line's part."""
    folder = pathlib.Path(args.folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = plain_rows(args.rows, folder)
    clicks = labels_of(rows) == 1
    lines = rows.read_bytes().splitlines()
    first = int(len(lines) * args.start) // ROWS * ROWS
    whole = (len(lines) - first) // ROWS * ROWS + first
    lines, clicks = lines[:whole], clicks[:whole]
    ways = [way for way in _WAYS if way.name.split()[0] in args.only.split(",")]
    scores = {way: [] for way in ways}
    for seed in range(1, args.seeds + 1):
        planted = delays(lines, first, seed)
        for policy in dict.fromkeys(way.policy for way in ways):
            of_policy = [way for way in ways if way.policy == policy]
            for way, found in zip(of_policy, _scores(args, folder, of_policy, lines, clicks, planted, first, seed), strict=True):
                scores[way].append(found)
    found = report.judged(scores, clicks[first:])
    lines = report.table(found)
    days = len(clicks[first:]) / ROWS / A_DAY
    lines.append(f"\n{first:,} rows to begin with, {len(clicks) - first:,} over {days:.0f} days, {args.seeds} seed(s).")
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    (folder / "table.json").write_text(json.dumps({way.label: report.plain(of) for way, of in found.items()}, indent=1))
    print("\n".join(lines), flush=True)
    return report.closing_line(found)


def _scores(args, folder, ways, lines, clicks, planted, first, seed) -> list[np.ndarray]:
    """Of ways of one policy the scores, from the folder where they are there."""
    replay, found = None, []
    for way in ways:
        known = args.known or way.policy == "wait"
        path = folder / f"{args.start:g}-{way.label.replace(' ', '_')}{'-known' if args.known else ''}-{seed}.npy"
        if not path.exists():
            if replay is None:
                from benchmarks.delayed.replay import Replay
                from tfonline import config

                flags = [*_FLAGS.split(), *args.flags.split(), f"--late_labels={way.policy}", f"--seed={seed}"]
                flags.append("--label_topic=outcomes")  # nothing is read from it: the outcomes are planted
                replay = Replay(config.parse(["", *flags]), lines)
            np.save(path, replay.scores(way, clicks, planted, first, known))
        found.append(np.load(path))
        about = report.metrics(found[-1][len(found[-1]) // 2 :], clicks[first:][len(found[-1]) // 2 :])
        print(f"seed {seed}, {way.label}: {report.words(about)}", flush=True)
    return found


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", required=True, help="rows in Criteo's format, in time order, TSV, plain or .gz")
    parser.add_argument("--folder", default=str(ROOT / "runs" / "delayed"), help="of scores and table (default runs/delayed)")
    parser.add_argument("--seeds", type=int, default=3, help="of first weights and delays (default 3)")
    parser.add_argument("--start", type=float, default=1 / 3, help="share of the rows that the model begins with (default a third)")
    parts = ["policies", "join", "negatives"]
    parser.add_argument("--parts", type=lambda text: text.split(","), default=parts, help="what is measured (default: all)")
    parser.add_argument("--kills", type=int, default=20, help="of the trainer, with join (default 20)")
    parser.add_argument("--turns", type=int, default=3, help="of the runs whose speed is compared, with join (default 3)")
    parser.add_argument("--known", action="store_true", help="the policies, too, begin with all labels of the first rows")
    parser.add_argument("--only", default="frozen,oracle,naive,daily,wait,fnw,fnc,es_dfm", help="ways to learn (default: all)")
    parser.add_argument("--flags", default="", help="further flags of the trainer")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
