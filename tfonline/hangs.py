"""Waits in C++ that nothing of Python can call back: for other workers, and for rows. Past their limits the process is ended.

Imports no TensorFlow: some of it runs before that is there.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

from tfonline.cluster.members import Cluster
from tfonline.lifecycle import Exit, Stop, UserError
from tfonline.report.console import Console
from tfonline.stream.broker import KafkaTopic

# The broker answers, but a read gives nothing for so many times --broker_timeout_secs: it hangs.
_HUNG_AFTER = 4
# Before the process is ended by itself, the checkpoint that is being written may still come to disk for so long.
_LAST_SAVE_SECS = 60.0


@contextlib.contextmanager
def all_come(cluster: Cluster | None, timeout_secs: float, console: Console) -> Iterator[None]:
    """A wait for the other workers. Ends the process, by SIGALRM, where the other workers do not come in time.

    TensorFlow waits for them without end, in C++ and with Python's lock: nothing of Python runs then, but the kernel's own answer
    to the signal does. Its exit status (142 in a shell) is no other error's.
    """
    if not cluster:
        yield
        return
    console.say(
        f"waiting for workers {', '.join(cluster.workers)}; ended by SIGALRM where they have not come in {timeout_secs:g} s "
        "(--worker_timeout_secs)",
        "workers",
    )
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, timeout_secs)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def alone(secs: float, stop: Stop) -> None:
    """The other workers have not answered for that long: one hangs, or is gone. Waiting for them, nothing else can be done."""
    with stop.after_the_save(_LAST_SAVE_SECS):
        stop.fail(
            f"no other worker has answered for {secs:.0f} s (--worker_timeout_secs): one hangs or is gone. Start all of "
            "them again; what was not saved will be read again."
        )
        leave(Exit.TRY_AGAIN)


def stuck(
    secs: float,
    limit_secs: float,
    topic: KafkaTopic | None,
    rows_lost: Callable[[], UserError | None],
    stop: Stop,
    console: Console,
) -> None:
    """No rows came for that long. Ends the process where the broker is away, rows are gone, or the read hangs all the same.

    The reader waits in C++ and cannot be called back; all that counts is saved.
    """
    console.say(f"the next rows have not come for {secs:.0f} s", "overdue", "warning", secs=secs)
    if topic is None:
        return
    try:
        topic.check_reachable()
        error = rows_lost()
        if not error and secs < _HUNG_AFTER * limit_secs:
            return
        error = error or UserError(
            f"the broker answers, but a read of topic {topic.name} hangs: no row for {secs:.0f} s"
            f"{topic.events.last and f' ({topic.events.last})'}.",
            Exit.TRY_AGAIN,
        )
    except UserError as e:
        error = e
    with stop.after_the_save(_LAST_SAVE_SECS):
        console.fail(f"{error} What was not saved will be read again.", error.code)
        leave(error.code)


def leave(code: int) -> NoReturn:
    """Ends the process now. Threads of the Kafka clients may wait for a broker that is away; all that counts is saved."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
