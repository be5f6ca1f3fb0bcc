"""A disk of its own, and the trainer's command for it."""

import subprocess
import sys


def on_a_disk(tmp_path, size, script):
    """Runs a shell script with $DISK, a tmpfs of that size that nobody else sees; returns what it printed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"set -e; DISK={disk}; mount -t tmpfs -o size={size} tmpfs $DISK; set +e; {script}"
    # As root in a namespace of its own, whoever runs the test: no rights are needed, and the mount ends with it.
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200)
    return done.stdout


def command_line(flags):
    return " ".join([sys.executable, "-m", "tfonline.train", *(f"--{name}={value}" for name, value in flags.items())])
