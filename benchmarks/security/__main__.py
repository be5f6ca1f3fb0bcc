"""The trainer against secured brokers: make security-test, or

    python -m benchmarks.security [--versions=3.2.0,3.9.1,4.3.0] [--readers=consumer,auto] [--modes=ssl,mtls,sasl_ssl]

Each case is a run of the trainer by its command line, on a topic of 200 rows. Right ways in must train all of them; wrong ones must
end with the exit code and the words that tell what to mend. No password may be in anything that was written: what the trainer says,
its model folder, the broker's log. The last line sums up; exit code 0 if all is as it must be.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from benchmarks.commands import ROOT, emptied, run, tool
from benchmarks.security.cases import OTHERS, TOPIC, WRONG_PASSWORD, Case, cases

sys.path.insert(0, str(ROOT / "tools"))

import broker
import broker_security

from tfonline.lifecycle import Exit

_ROWS = 200
_LIMIT_SECS = 120.0


def main() -> int:
    """Runs all cases; returns 0 if each ended as it must."""
    args = _parse()
    folder = emptied(args.folder)
    _make_rows(folder)
    print("| Kafka | mode | case | reader | exit | says |\n|---|---|---|---|---|---|", flush=True)
    num_cases, num_wrong, num_secrets = 0, 0, 0
    for version in args.versions.split(","):
        for mode in args.modes.split(","):
            data = folder / f"{mode}-{version}"
            started = broker.start(data, version, security=mode)
            try:
                _fill(started.internal, folder / "rows.tsv")
                secured = broker_security.prepare(data, mode, tuple(map(int, version.split("."))))
                for case in cases(secured, _stranger(folder)):
                    for reader in args.readers.split(","):
                        wrong, code, said = _try(folder, started, case, reader)
                        num_cases, num_wrong = num_cases + 1, num_wrong + wrong
                        mark = " **wrong**" if wrong else ""
                        print(f"| {version} | {mode} | {case.name} | {reader} | {code}{mark} | {said} |", flush=True)
            finally:
                broker.stop(data)
            num_secrets += _secrets(folder, data, [secured.password, WRONG_PASSWORD])
    print(f"security: cases={num_cases} wrong={num_wrong} secrets={num_secrets}")
    return 1 if num_wrong or num_secrets else 0


def _make_rows(folder: pathlib.Path) -> None:
    """Rows, and the dictionaries of them."""
    tool("synthetic.py", f"--rows={_ROWS}", f"--output={folder / 'rows.tsv'}")
    tool("process_data.py", folder / "rows.tsv", f"--output_dir={folder / 'dictionaries'}", "--min_count=1")


def _stranger(folder: pathlib.Path) -> pathlib.Path:
    """The certificate of an authority that no broker has."""
    file = folder / "stranger.pem"
    if not file.exists():
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{folder}/stranger.key"]
        run(["openssl", "req", "-x509", *key, "-out", file, "-subj", "/CN=stranger", "-days", "10"])
    return file


def _fill(internal: str, rows: pathlib.Path) -> None:
    """Two topics with the rows; to one of them, and to a group of the same name, no account has a right.

    Denied, and not allowed to another account only: Kafka 3.2.0 lets in whom no rule names, though there are rules for others.
    """
    for topic in (TOPIC, OTHERS):
        tool("topic.py", "create", f"--topic={topic}", "--partitions=2", f"--bootstrap_servers={internal}")
        tool("produce.py", rows, f"--topic={topic}", f"--bootstrap_servers={internal}")
    admin = AdminClient({"bootstrap.servers": internal})
    denied = (OTHERS, ResourcePatternType.LITERAL, "User:*", "*", AclOperation.ALL, AclPermissionType.DENY)
    for done in admin.create_acls([AclBinding(kind, *denied) for kind in (ResourceType.TOPIC, ResourceType.GROUP)]).values():
        done.result(30)


def _try(folder: pathlib.Path, started: broker.Broker, case: Case, reader: str) -> tuple[bool, int, str]:
    """Whether a run ended otherwise than it must, its exit code, and the last thing that it said."""
    model, properties = folder / "model", folder / "kafka.properties"
    shutil.rmtree(model, ignore_errors=True)
    properties.touch(mode=0o600)
    properties.write_text("".join(f"{key}={value}\n" for key, value in case.properties.items()))
    servers = {
        "bootstrap": started.bootstrap,
        "internal": started.internal,
        "other_name": started.bootstrap.replace("localhost", "127.0.0.1"),
    }[case.address]
    flags = [
        f"--bootstrap_servers={servers}", f"--topic={TOPIC}", f"--kafka_properties_file={properties}", f"--model_dir={model}",
        f"--dictionary_dir={folder / 'dictionaries'}", f"--reader={reader}", "--stop_at=latest", "--deep_layers=8",
        "--broker_timeout_secs=20", *case.flags,
    ]  # fmt: skip
    command = [sys.executable, "-m", "tfonline.train", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_LIMIT_SECS, check=False)
    with (folder / "said.log").open("a") as said:
        said.write(f"== {case.name}, {reader}: {done.returncode}\n{done.stdout}{done.stderr}\n")
    wrong = done.returncode != case.exit_code or case.says not in done.stdout + done.stderr
    if case.exit_code == Exit.OK and not wrong:
        wrong = json.loads((model / "summary.json").read_text())["rows"] != _ROWS
    lines = (done.stderr or done.stdout).strip().splitlines()
    return wrong, done.returncode, lines[-1] if lines else ""


def _secrets(folder: pathlib.Path, data: pathlib.Path, secrets: list[str]) -> int:
    """In how many of the files that were written a password stands, but for those that are made to hold it."""
    found = 0
    for path in [folder / "said.log", data / "broker.log", *(p for p in (folder / "model").rglob("*") if p.is_file())]:
        held = [s for s in secrets if s.encode() in path.read_bytes()]
        found += bool(held)
        if held:
            print(f"a password stands in {path}", flush=True)
    return found


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.security", description=__doc__.partition("\n")[0])
    parser.add_argument("--versions", default="3.2.0,3.9.1,4.3.0", help="of Apache Kafka (default %(default)s)")
    parser.add_argument("--modes", default="ssl,mtls,sasl_ssl", help="of tools/broker.py --security (default %(default)s)")
    parser.add_argument("--readers", default="consumer,auto", help="of the trainer's --reader (default %(default)s)")
    parser.add_argument("--folder", default=str(ROOT / "runs" / "security"), help="where all of it goes (default %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
