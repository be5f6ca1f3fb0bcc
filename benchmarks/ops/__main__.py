"""Faults are brought about, and a real Prometheus must tell of each, by the rules of deploy/prometheus: make ops-test, or

    python -m benchmarks.ops                                20 minutes
    python -m benchmarks.ops --only='nothing,no rows come'

A real broker, the trainer, the server and its clients run on this machine, all at 127.0.0.1. The rules are those of
deploy/prometheus/tfonline.rules.yaml, durations and limits in seconds divided by 120, limits in rows by 20 (pace.py). Each
fault must raise its alerts; once it is mended, they must end. An alert that a fault neither must raise nor may raise as a
consequence (faults.py) is a false alarm. The last line sums up; exit code 0 if each alert came and went and none was false.
"""

import argparse
import math
import os
import pathlib
import signal
import sys
import time
from typing import NamedTuple

from benchmarks.commands import ROOT, emptied
from benchmarks.ops.faults import DRIFTING, FAULTS, YESTERDAY_SECS, Fault, break_folder
from benchmarks.ops.stage import Failed, Stage

# So long an alert may take to come, and to end. The slowest by the rules takes 105 s (3 h and 30 m), and a machine may be busy.
_COMES_SECS, _ENDS_SECS = 300.0, 420.0


class Outcome(NamedTuple):
    """What a fault has raised.

    Attributes:
      fault: the fault.
      fired: seconds from the fault to each alert, by name.
      ended_secs: from its mend until no alert was left; inf: some were.
      drift_rows: from a column's change until drift is told; None: of no column.
    """

    fault: Fault
    fired: dict[str, float]
    ended_secs: float
    drift_rows: int | None

    @property
    def false(self) -> list[str]:
        """Alerts that neither had to come nor may follow."""
        return sorted(set(self.fired) - {*self.fault.expects, *self.fault.follows})

    @property
    def missing(self) -> list[str]:
        """Alerts that had to come and did not."""
        return sorted(set(self.fault.expects) - set(self.fired))


def main() -> int:
    """Runs all faults; returns the exit code."""
    args = _parse()
    # As Ctrl-C: what was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    stage = Stage(emptied(args.folder))
    faults = [fault for fault in FAULTS if not args.only or fault.name in args.only]
    code = 1
    try:
        broken = FAULTS[0] in faults
        stage.begin(YESTERDAY_SECS if broken else 0, break_folder if broken else lambda _: None)
        outcomes = [_try(stage, fault) for fault in faults]
        code = _sum_up(stage, outcomes)
    except Failed as e:
        print(f"ops: FAILED: {e}", flush=True)
    except KeyboardInterrupt:
        print("ops: interrupted; ending what was started", flush=True)
        code = 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C leaves nothing behind, either
        stage.close()
    return code


def _try(stage: Stage, fault: Fault) -> Outcome:
    """Brings the fault about, waits for its alerts, mends it, and waits for their end."""
    stage.say(f"{fault.name}: expecting {', '.join(fault.expects) or 'no alert'}")
    began, rows = time.time(), stage.feed.rows
    with fault.strikes(stage):
        struck = time.monotonic()
        while time.monotonic() - struck < (fault.secs or _COMES_SECS):
            if fault.expects and set(fault.expects) <= set(stage.prometheus.fired(began)):
                break
            time.sleep(0.5)
    mended = time.monotonic()
    while (left := stage.prometheus.raised()) and time.monotonic() - mended < _ENDS_SECS:
        time.sleep(0.5)
    ended_secs = math.inf if left else time.monotonic() - mended
    fired = {name: at - began for name, at in stage.prometheus.fired(began).items()}
    told = stage.drift_of(DRIFTING, rows) if DRIFTING in fault.name else None
    outcome = Outcome(fault, fired, ended_secs, told and told - rows)
    said = ", ".join(f"{name} after {secs:.0f} s" for name, secs in sorted(fired.items(), key=lambda each: each[1]))
    stage.say(f"{fault.name}: {said or 'no alert'}; none {ended_secs:.0f} s after the mend")
    if left:
        stage.say(f"NOT AS EXPECTED: {', '.join(sorted(left))} did not end")
    for name in outcome.missing:
        stage.say(f"NOT AS EXPECTED: {name} did not come")
    for name in outcome.false:
        stage.say(f"NOT AS EXPECTED: {name} is a false alarm")
    return outcome


def _sum_up(stage: Stage, outcomes: list[Outcome]) -> int:
    print("\n| fault | alerts that it must raise, after s | besides | ended, s after the mend |\n|---|---|---|---|")
    for fault, fired, ended_secs, _ in outcomes:
        must = ", ".join(f"{name} {fired[name]:.0f}" if name in fired else f"**{name}: none**" for name in fault.expects)
        besides, ended = ", ".join(sorted(set(fired) - set(fault.expects))), f"{ended_secs:.0f}" if fault.expects else "-"
        print(f"| {fault.name} | {must or '-'} | {besides or '-'} | {ended} |")
    false, missing = sum(len(o.false) for o in outcomes), sum(len(o.missing) for o in outcomes)
    raised = {name for o in outcomes for name in o.fault.expects if name in o.fired}
    answer = stage.prometheus.value('1000 * quantile_over_time(0.5, scrape_duration_seconds{job="tfonline-trainer"}[1h])')
    drift = next((o.drift_rows for o in outcomes if o.drift_rows), None)
    faults = sum(bool(o.fault.expects) for o in outcomes)
    print(
        f"ops: faults={faults} alerts_fired={len(raised)} missing={missing} false_alarms={false} "
        f"cost={answer or 0:.1f}ms_a_scrape drift_rows={drift} "
        f"rollback_publications={stage.versions_left}",
        flush=True,
    )
    return 1 if false or missing or any(math.isinf(o.ended_secs) for o in outcomes) else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ops", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help=f"names, comma separated (default: all): {'; '.join(f.name for f in FAULTS)}")
    parser.add_argument("--folder", default=str(ROOT / "runs" / "ops"), help="emptied first (default runs/ops)")
    args = parser.parse_args()
    args.folder = pathlib.Path(args.folder)
    args.only = [name.strip() for name in args.only.split(",") if name]
    if unknown := set(args.only) - {fault.name for fault in FAULTS}:
        parser.error(f"--only: no fault {sorted(unknown)[0]!r}")
    return args


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
