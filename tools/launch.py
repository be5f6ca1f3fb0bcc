"""Trains with several workers on this machine; all flags but these are the trainer's.

    python tools/launch.py --num_workers=4 -- --flagfile=configs/criteo.flags --topic=clicks --model_dir=runs/clicks

Each worker has a log file of its own. When one ends with an error, or is killed, all are stopped and started again from the last
checkpoint, up to --max_restarts times; not after an exit code that says a person must mend something. SIGTERM and Ctrl-C reach all
workers, which end at a window's end.
"""

import argparse
import pathlib
import signal
import socket
import subprocess
import sys
import time
from types import FrameType

from command_line import Parser, at_least, run

from tfonline import folders
from tfonline.lifecycle import Exit, UserError

# Another start may end otherwise: a failure passes, a broker comes back; 1 is also how a library says that a worker is gone.
_AGAIN = {Exit.BUG, Exit.TRY_AGAIN, Exit.UNAVAILABLE}
_POLL_SECS = 0.1
_LAST_WORDS_SECS = 5.0  # for the others, when one has failed
_STOP_SECS = 300.0  # for all, when they were asked to stop


class Launcher:
    """N workers, started and stopped together.

    Args:
      flags: of the trainer, without the cluster's.
      num_workers: N.
      log_dir: gets worker-<i>.log, appended to.
    """

    def __init__(self, flags: list[str], num_workers: int, log_dir: pathlib.Path):
        self._flags, self._num_workers, self._log_dir = flags, num_workers, log_dir
        self.processes: list[subprocess.Popen] = []
        self.stopping = False

    def start(self) -> None:
        """Starts all workers, at free ports."""
        workers = ",".join(f"localhost:{port}" for port in _free_ports(self._num_workers))
        for i in range(self._num_workers):
            command = [sys.executable, "-m", "tfonline.train", *self._flags]
            command += ["--cluster=hosts", f"--workers={workers}", f"--worker_index={i}"]
            with (self._log_dir / f"worker-{i}.log").open("ab") as log:
                # A session of its own: Ctrl-C reaches it once, from here.
                process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            self.processes.append(process)

    def wait(self) -> int:
        """Until all have ended well (0), or one has not: its exit code, or minus its signal. The others are killed soon after."""
        deadline = None
        while True:
            codes = [p.poll() for p in self.processes]
            failed = [code for code in codes if code]
            if (failed or self.stopping) and deadline is None:
                deadline = time.monotonic() + (_LAST_WORDS_SECS if failed else _STOP_SECS)
            if None not in codes or (deadline is not None and time.monotonic() > deadline):
                self.kill()
                # Who knows the reason may end after who only noticed that somebody was gone.
                return next((code for code in failed if code > 0 and code not in _AGAIN), failed[0] if failed else 0)
            time.sleep(_POLL_SECS)

    def stop(self, number: int, _: FrameType | None) -> None:
        """Passes a signal on."""
        self.stopping = True
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)

    def kill(self) -> None:
        """Ends those that still run. The newest checkpoint is whole, whenever that is."""
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes = []


def main(argv: list[str]) -> int:
    """Launches, and launches again; returns the exit code."""
    args = _parse(argv)
    log_dir = pathlib.Path(args.log_dir)
    folders.make(args.log_dir, "--log_dir")
    launcher = Launcher(args.flags, args.num_workers, log_dir)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, launcher.stop)
    for restarts in range(args.max_restarts + 1):
        launcher.start()
        if launcher.stopping:  # the signal came while they were started
            launcher.stop(signal.SIGTERM, None)
        pids = " ".join(str(p.pid) for p in launcher.processes)
        print(f"launch: {args.num_workers} workers ({pids}), logs {log_dir}/worker-*.log", flush=True)
        code = launcher.wait()
        if code == 0 or launcher.stopping:
            print(f"launch: workers={args.num_workers} restarts={restarts} ended={'stopped' if launcher.stopping else 'done'}")
            return max(code, 0)
        what = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        print(f"launch: a worker {what}; all are stopped. {_last_words(log_dir, args.num_workers)}", flush=True)
        if code > 0 and code not in _AGAIN:
            return code
    raise UserError(f"given up after --max_restarts={args.max_restarts}; see {log_dir}.", Exit.TRY_AGAIN)


def _last_words(log_dir: pathlib.Path, num_workers: int) -> str:
    """The last error line of a log, if there is one."""
    for i in range(num_workers):
        lines = (log_dir / f"worker-{i}.log").read_text(errors="replace").splitlines()
        said = [line for line in lines[-20:] if line.startswith("tfonline: ")]
        if said:
            return f"worker {i}: {said[-1]}"
    return ""


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="launch.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_workers", type=at_least(2), required=True, help="how many")
    parser.add_argument("--max_restarts", type=at_least(0), default=100, help="how often to start again (default 100)")
    parser.add_argument("--log_dir", default="runs/workers", help="of the workers' logs (default runs/workers)")
    parser.add_argument("flags", nargs="*", help="the trainer's flags, after --")
    args = parser.parse_args(argv)
    own = [f for f in args.flags if f.lstrip("-").partition("=")[0] in ("cluster", "workers", "worker_index")]
    if own:
        raise UserError(f"{own[0]} is set by launch.py. Leave it out.", Exit.FLAGS)
    return args


if __name__ == "__main__":
    run(main)
