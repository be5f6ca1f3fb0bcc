"""A real Prometheus, and what it knows."""

import json
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

from benchmarks.commands import ROOT, free_port
from benchmarks.ops.pace import faster

_RULES = ROOT / "deploy" / "prometheus" / "tfonline.rules.yaml"
_START_SECS, _STOP_SECS = 60.0, 20.0
_MODEL = "clicks"


class Prometheus:
    """Runs until it is closed; asks once a second, by the rules of deploy/prometheus at the pace of the test.

    Args:
      folder: for its files.
      ports: to be asked, by job.
    """

    def __init__(self, folder: pathlib.Path, ports: dict[str, int]):
        if not shutil.which("prometheus"):
            sys.exit("prometheus is not on PATH: make programs installs it (Debian: apt install prometheus)")
        folder.mkdir()
        (folder / "rules.yaml").write_text(faster(_RULES.read_text()))
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": {"model": _MODEL}}]}
            for job, port in ports.items()
        ]
        every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config = {"global": every, "rule_files": ["rules.yaml"], "scrape_configs": jobs}
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        port = free_port()
        self._address = f"http://127.0.0.1:{port}"
        where = ["--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{port}"]
        command = ["prometheus", "--config.file=prometheus.yaml", "--log.level=warn", *where]
        with (folder / "log").open("ab") as out:
            quiet = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": subprocess.STDOUT}
            self._process = subprocess.Popen(command, cwd=folder, start_new_session=True, **quiet)
        try:
            self._wait(folder / "log")
        except BaseException:  # Ctrl-C, too: nobody else knows of the process yet
            self.close()
            raise

    def _wait(self, log: pathlib.Path) -> None:
        deadline = time.monotonic() + _START_SECS
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"Prometheus does not answer at {self._address}\n{log.read_text()[-2000:]}")
            time.sleep(0.1)

    def close(self) -> None:
        """Ends it."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def raised(self) -> set[str]:
        """The alerts that fire now, or are about to."""
        return {alert["labels"]["alertname"] for alert in self._ask("alerts")["alerts"]}

    def fired(self, since: float) -> dict[str, float]:
        """When each alert that has fired since then fired first, both seconds since 1970."""
        asked = {"query": 'ALERTS{alertstate="firing"}', "start": since, "end": time.time(), "step": 1}
        first: dict[str, float] = {}
        for series in self._ask("query_range", **asked)["result"]:
            name, at = series["metric"]["alertname"], float(series["values"][0][0])
            first[name] = min(first.get(name, at), at)
        return first

    def value(self, query: str) -> float | None:
        """The first value that a query gives; None where there is none."""
        found = self._ask("query", query=query)["result"]
        return float(found[0]["value"][1]) if found else None

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._address}/-/ready", timeout=10) as answer:
                return answer.status == 200
        except OSError:
            return False

    def _ask(self, what: str, **asked: object) -> dict:
        address = f"{self._address}/api/v1/{what}?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(address, timeout=60) as answer:
            return json.load(answer)["data"]
