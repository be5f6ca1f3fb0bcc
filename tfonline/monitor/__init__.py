"""What a running trainer tells over HTTP (--monitor_port): metrics for Prometheus, whether it lives, whether it reads.

All is told from threads of its own, out of numbers that the training thread has put where they are read whole. Nothing waits for
who asks. Imports no TensorFlow.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tfonline.lifecycle import Stop
from tfonline.report.console import Console
from tfonline.report.status import Status
from tfonline.settings.reporting import ReportingSettings

if TYPE_CHECKING:  # it brings numpy, which starts threads: not before signals are blocked
    from tfonline.monitor.server import Monitor


@contextlib.contextmanager
def monitored(
    reporting: ReportingSettings, chief: bool, status: Status, stop: Stop, console: Console
) -> Iterator["Monitor | None"]:
    """Listens at --monitor_port meanwhile, so that what starts is seen starting; gives None where nobody is to be told.

    Raises:
      UserError: the address cannot be listened at (exit 69).
    """
    if not (chief and reporting.monitor_port):
        yield None
        return
    from tfonline.monitor.server import Monitor

    monitor = Monitor(reporting.monitor_host, reporting.monitor_port, status, stop)
    console.say(f"tells of itself at {monitor.address}/metrics, /healthz and /readyz", "monitor", address=monitor.address)
    try:
        yield monitor
    finally:
        monitor.close()
