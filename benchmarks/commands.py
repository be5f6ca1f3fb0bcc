"""Commands that the benchmarks run."""

import pathlib
import shutil
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"


def emptied(name: str) -> pathlib.Path:
    """The folder, with nothing in it."""
    folder = pathlib.Path(name).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def run(command: list[object]) -> str:
    """What the command printed; ends the program with its last words where it fails."""
    done = subprocess.run([str(c) for c in command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command[:5]))} ended with exit code {done.returncode}\n{done.stdout[-2000:]}")
    return done.stdout


def tool(name: str, *options: object) -> str:
    """What one of tools/ printed."""
    return run([sys.executable, ROOT / "tools" / name, *options])


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
