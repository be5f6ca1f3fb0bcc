"""Kills the real trainer and its broker at random moments, then proves that the model is the one of an undisturbed run.

    python -m benchmarks.chaos                               50 kills, 12 broker faults: about half an hour
    python -m benchmarks.chaos --kills=5 --broker_faults=2   the short one
    python -m benchmarks.chaos --reader=consumer             by one of the readers
    python -m benchmarks.chaos --reader_processes=2          by several processes that read
    python -m benchmarks.chaos --vocabulary_rows=512         with ids that come with the stream
    python -m benchmarks.chaos --peer                        and then a usual training loop, under the same kills

A feeder produces synthetic rows all the while, one in a hundred poisoned, after a beginning of committed and aborted transactions.
The trainer runs with its default layers and two replicas, windows by count, by time and both in turn. It is killed in each of its
phases; the broker is stopped, killed, and away for longer than --broker_timeout_secs. A partition is added on the way. Then the
journal is replayed in one uninterrupted run, and everything is compared: see check.py. Exit code 1 if anything differs or
the trainer stands still; 75 if the feeder or the broker fails, which says nothing of the trainer (patience.py says who is blamed).

All faults are planned beforehand from --seed (plan.py), and each is printed before it strikes. A run that proves nothing or fails
ends with the command that plans the same faults again.

With --vocabulary_rows, ids come with the stream. The first fault waits until 95 % of the vocabulary's rows are in use; from then on
they change hands, and which value has which row is compared like all else (vocabulary.py).

With --peer, a Keras model that learns by a consumer group (peer.py) then gets the planned kills and the new partition, on a topic
of its own that is fed the same rows; the broker is left alone. How often each row is in its weights stands in its checkpoint. A
table shows both, and the last line is the peer's. What becomes of the peer is no failure: the exit code is the trainer's.
"""

import argparse
import os
import pathlib
import shutil
import sys
import tempfile
import time

from confluent_kafka import KafkaException

from benchmarks.chaos.peer_run import Outcome, PeerRun, closing_line, table
from benchmarks.chaos.plan import Plan, plan_of
from benchmarks.chaos.run import Chaos
from benchmarks.chaos.stage import Stage
from benchmarks.chaos.trainer import Failed, HarnessFailed
from tfonline.lifecycle import Exit, UserError

_PLANNED_BY = (
    "seed", "kills", "broker_faults", "rows_per_sec", "reader", "reader_processes", "vocabulary_rows", "trainer", "commit",
)  # fmt: skip


def main() -> int:
    """Runs the chaos; returns the exit code."""
    args = _parse()
    folder = pathlib.Path(args.folder or tempfile.mkdtemp(prefix="tfonline-chaos-")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    print(f"chaos: seed {args.seed}, folder {folder}", flush=True)
    code: int = Exit.BUG
    try:
        code = _run(args, folder)
    except Failed as e:
        print(f"chaos: FAILED, seed {args.seed}: {e}", flush=True)
    except (HarnessFailed, KafkaException, UserError) as e:
        print(f"chaos: NOTHING PROVEN, seed {args.seed}: not the trainer, {e}", flush=True)
        code = Exit.TRY_AGAIN
    finally:
        if code:
            print(f"chaos: everything is in {folder}\nchaos: the same faults again: {again(args)}", flush=True)
    if not code and not args.folder:
        shutil.rmtree(folder)
    return code


def again(args: argparse.Namespace) -> str:
    """The command that plans the same faults."""
    options = [f"--{name}={value}" for name in _PLANNED_BY if (value := getattr(args, name)) != ""]
    return f"make chaos CHAOS='{' '.join(options + ['--peer'] * args.peer)}'"


def _run(args: argparse.Namespace, folder: pathlib.Path) -> int:
    stage, plan = Stage(folder, args.rows_per_sec), plan_of(args.seed, args.kills, args.broker_faults)
    try:
        trainer = _run_trainer(args, stage, plan)
        if trainer and args.peer:
            peers = [PeerRun(stage, plan, commit).run() for commit in args.commit.split(",")]
            print("\n".join([table([trainer, *peers]), *map(closing_line, peers)]), flush=True)
    finally:
        stage.close()
    return Exit.OK if trainer else Exit.BUG


def _run_trainer(args: argparse.Namespace, stage: Stage, plan: Plan) -> Outcome | None:
    """Runs tfonline and prints what became of it; None where that is not as promised."""
    began = time.monotonic()
    chaos = Chaos(args, stage, plan)
    verdict = chaos.run()
    kills, equal = chaos.kills.total(), verdict.weights_equal
    load = f" vocabulary_load={chaos.vocabulary.load:.3f}" if chaos.vocabulary else ""
    for problem in verdict.problems:
        print(f"chaos: NOT AS PROMISED: {problem}", flush=True)
    print(
        f"chaos: kills={kills} broker_faults={chaos.broker_faults} lost={verdict.lost} duplicated={verdict.duplicated} "
        f"weights_equal={'yes' if equal else 'no'}{load} seconds={time.monotonic() - began:.0f}",
        flush=True,
    )
    if verdict.problems:
        return None
    return Outcome("tfonline", kills, chaos.broker_faults, verdict.rows, verdict.lost, verdict.duplicated, equal, 0.0, None)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="SIGKILLs of the trainer (default 50)")
    parser.add_argument("--broker_faults", type=int, default=12, help="times that the broker goes away (default 12)")
    parser.add_argument("--rows_per_sec", type=int, default=800, help="what the feeder produces (default 800)")
    parser.add_argument("--reader", default="auto", help="the trainer's --reader (default auto)")
    parser.add_argument("--reader_processes", type=int, default=0, help="the trainer's --reader_processes (default 0)")
    parser.add_argument(
        "--vocabulary_rows", type=int, default=0, help="the trainer's --vocabulary_rows (default 0: it has dictionaries)"
    )
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of all chance (default: the time, printed)")
    parser.add_argument("--folder", default="", help="kept afterwards (default: a temporary one, kept where something differs)")
    parser.add_argument("--trainer", default="", help="a script in place of the trainer, to see the check fail")
    parser.add_argument("--peer", action="store_true", help="afterwards, a usual training loop under the same kills")
    parser.add_argument("--commit", default="auto", help="how the peer commits: auto, after_checkpoint, or both with a comma")
    args = parser.parse_args()
    if unknown := set(args.commit.split(",")) - {"auto", "after_checkpoint"}:
        parser.error(f"--commit={args.commit}: {unknown.pop()!r} is neither auto nor after_checkpoint")
    return args


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
