"""What a process holds."""

import pathlib


def usage(pid: int) -> dict[str, int]:
    """Resident memory in kB, threads and open files of a running process.

    Raises:
      OSError, KeyError: it has ended.
    """
    process = pathlib.Path("/proc") / str(pid)
    fields = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    files = len(list((process / "fd").iterdir()))
    return {"memory": int(fields["VmRSS"].split()[0]), "threads": int(fields["Threads"]), "files": files}
