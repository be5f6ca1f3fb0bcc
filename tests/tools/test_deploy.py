"""The files in deploy/ and the Dockerfile: their form, and that what they name is there."""

import configparser
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose

from tfonline import config, serve
from tfonline.flags import named, parse
from tfonline.lifecycle import Exit

ROOT = pathlib.Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = {path.name: list(yaml.safe_load_all(path.read_text())) for path in (DEPLOY / "kubernetes").glob("*.yaml")}
COMPOSE = yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text())
SBATCH = (DEPLOY / "slurm/train.sbatch").read_text()
OLDEST, NEWEST = "1.27", "1.37"  # of Kubernetes
# Exit codes after which the same command cannot work: somebody has to do something first.
NEED_A_PERSON = {
    Exit.FLAGS, Exit.DATA, Exit.NO_INPUT, Exit.NOT_FINITE, Exit.STEP, Exit.CANNOT_WRITE, Exit.CREDENTIALS, Exit.CONFIG,
}  # fmt: skip
ENDED_BY_SIGALRM = 142  # other workers did not come


def documents(kind: str) -> list[dict]:
    return [d for file in KUBERNETES.values() for d in file if d["kind"] == kind]


def pods() -> dict[str, dict]:
    """The pod template of each file's workload, by file and name."""
    found = {}
    for name, file in KUBERNETES.items():
        for d in file:
            if d["kind"] in ("StatefulSet", "Deployment"):
                found[f"{name} {d['kind']}"] = d["spec"]["template"]
            for role, replicas in d["spec"].get("tfReplicaSpecs", {}).items() if d["kind"] == "TFJob" else ():
                found[f"{name} {role}"] = replicas["template"]
    return found


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string((DEPLOY / "systemd/tfonline.service").read_text().replace("\\\n", " "))
    return parser


def commands() -> dict[str, list[str]]:
    """Each command that starts tfonline, from its module on, by where it stands."""
    found = {name: pod["spec"]["containers"][0]["args"] for name, pod in pods().items()}
    for name, service in COMPOSE["services"].items():
        if str(service.get("command", [""])[0]).startswith("tfonline."):
            found[f"compose {name}"] = service["command"]
    script = re.sub(r"\|\| code=\$\?", "", re.search(r"^srun (?:.*\\\n)*.*$", SBATCH, re.MULTILINE)[0].replace("\\\n", " "))
    for name, line in {"systemd": unit()["Service"]["ExecStart"], "slurm": script}.items():
        words = shlex.split(line)
        found[name] = words[words.index("-m") + 1 :]
    for d in documents("ConfigMap"):
        found[d["metadata"]["name"]] = ["tfonline.train", *d["data"]["trainer.flags"].split()]
    return found


def settings(where: str) -> config.Config | serve.Config:
    """What the program makes of the command, without the files that are not here."""
    module, *flags = commands()[where]
    elsewhere = ("--flagfile=/", "--kafka_properties_file=/")
    kind = {"tfonline.train": config.Config, "tfonline.serve": serve.Config}[module]
    return parse(kind, module, "", ["", *(f for f in flags if not f.startswith(elsewhere))])


def test_every_file_starts_something():
    assert sorted(commands()) == [
        "compose server", "compose trainer", "server.yaml Deployment", "slurm", "systemd", "tfjob.yaml Chief", "tfjob.yaml Worker",
        "tfonline-trainer", "trainer.yaml StatefulSet",
    ]  # fmt: skip


@pytest.mark.parametrize("where", sorted(commands()))
def test_every_flag_exists_and_has_a_value_that_it_may_have(where, monkeypatch):
    monkeypatch.chdir(ROOT)
    module, *flags = commands()[where]
    kind = {"tfonline.train": config.Config, "tfonline.serve": serve.Config}[module]
    known = {"flagfile", *named(kind)}
    assert {f.removeprefix("--").partition("=")[0] for f in flags} - known == set()
    assert all(re.fullmatch(r"--[a-z_0-9]+(=.+)?", f) for f in flags)
    assert settings(where) is not None


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_the_manifests_fit_the_schemas_of_kubernetes(version):
    checked = [d["kind"] for file in KUBERNETES.values() for d in file if d["kind"] != "TFJob" and validated(d, version)]
    for template in pods().values():
        assert validated({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template}, version)
    assert sorted(set(checked)) == ["ConfigMap", "Deployment", "PersistentVolumeClaim", "Service", "StatefulSet"]


def validated(document: dict, version: str) -> bool:
    kubernetes_validate.validate(document, version, strict=True)
    return True


def test_the_schemas_find_what_is_wrong():
    wrong = {**documents("StatefulSet")[0], "spec": {**documents("StatefulSet")[0]["spec"], "replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        validated(wrong, NEWEST)


def test_the_tfjob_has_the_shape_of_its_definition():
    (job,) = documents("TFJob")
    assert job["apiVersion"] == "kubeflow.org/v1"
    assert set(job["spec"]) == {"runPolicy", "tfReplicaSpecs"}
    assert job["spec"]["runPolicy"] == {"backoffLimit": 20, "cleanPodPolicy": "Running"}
    replicas = job["spec"]["tfReplicaSpecs"]
    assert {role: r["replicas"] for role, r in replicas.items()} == {"Chief": 1, "Worker": 3}
    for r in replicas.values():
        assert set(r) == {"replicas", "restartPolicy", "template"}
        assert r["restartPolicy"] == "OnFailure"  # ExitCode would never try again after 75
        (container,) = r["template"]["spec"]["containers"]
        # The operator looks for these names.
        assert (container["name"], container["ports"]) == ("tensorflow", [{"name": "tfjob-port", "containerPort": 2222}])
    assert settings("tfjob.yaml Chief").workers.cluster == "tf_config"
    assert replicas["Chief"]["template"] == replicas["Worker"]["template"]
    assert settings("tfonline-trainer").learning.batch_size % sum(r["replicas"] for r in replicas.values()) == 0


@pytest.mark.parametrize("where", sorted(pods()))
def test_what_a_pod_mounts_is_there(where):
    pod = pods()[where]["spec"]
    (container,) = pod["containers"]
    claims = {d["metadata"]["name"] for d in documents("PersistentVolumeClaim")}
    of_set = {c["metadata"]["name"] for d in documents("StatefulSet") for c in d["spec"]["volumeClaimTemplates"]}
    of_set = of_set if "StatefulSet" in where else set()
    volumes = {v["name"]: v for v in pod["volumes"]}
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    assert set(mounts) == set(volumes) | of_set
    for volume in volumes.values():
        assert volume.get("persistentVolumeClaim", {}).get("claimName", "tfonline-models") in claims
        assert volume.get("configMap", {}).get("name", "tfonline-trainer") == documents("ConfigMap")[0]["metadata"]["name"]
    flags = list(commands()[where])
    if "Deployment" not in where:
        flags += documents("ConfigMap")[0]["data"]["trainer.flags"].split()
    for path in (flag.partition("=")[2] for flag in flags if "=/" in flag):
        assert any(path.startswith(f"{mount}/") or path == mount for mount in mounts.values()), path
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert (
        str(pod["securityContext"]["runAsUser"]) == re.search(r"^USER (\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[1]
    )


def test_a_stop_gets_more_time_than_it_may_take():
    trainer = settings("tfonline-trainer")
    for where in ("trainer.yaml StatefulSet", "tfjob.yaml Chief", "tfjob.yaml Worker"):
        assert pods()[where]["spec"]["terminationGracePeriodSeconds"] >= trainer.keeping.drain_secs + 15
    server = pods()["server.yaml Deployment"]["spec"]
    http = settings("server.yaml Deployment").http
    # A Service looks each 5 s whether a pod is ready, and kube-proxy learns of it some seconds later.
    assert http.lame_duck_secs >= 2 * server["containers"][0]["readinessProbe"]["periodSeconds"]
    assert server["terminationGracePeriodSeconds"] >= http.lame_duck_secs + http.drain_secs + 15
    assert int(unit()["Service"]["TimeoutStopSec"]) >= settings("systemd").keeping.drain_secs + 15
    for name, secs in (
        ("trainer", settings("compose trainer").keeping.drain_secs),
        ("server", settings("compose server").http.drain_secs),
    ):
        assert int(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s")) >= secs + 10
    assert int(re.search(r"--signal=TERM@(\d+)", SBATCH)[1]) >= dict(arguments("slurm"))["--drain_secs"] + 15


def arguments(where: str) -> list[tuple[str, int]]:
    return [(name, int(value)) for name, _, value in (f.partition("=") for f in commands()[where]) if value.isdecimal()]


def test_the_trainer_is_asked_at_an_address_that_it_has():
    (container,) = pods()["trainer.yaml StatefulSet"]["spec"]["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    alive = {"path": "/healthz", "port": "monitor"}
    assert paths == {"startup": alive, "liveness": alive, "readiness": {"path": "/readyz", "port": "monitor"}}
    source = (ROOT / "tfonline/monitor/server.py").read_text()
    assert all(f'"{probe["path"]}"' in source for probe in paths.values())
    assert container["ports"] == [{"name": "monitor", "containerPort": 9100}]
    trainer, annotations = settings("tfonline-trainer"), pods()["trainer.yaml StatefulSet"]["metadata"]["annotations"]
    # The kubelet and Prometheus ask from outside of the pod.
    assert (trainer.reporting.monitor_port, trainer.reporting.monitor_host) == (9100, "0.0.0.0")
    assert annotations == {"prometheus.io/scrape": "true", "prometheus.io/port": "9100"}


def test_a_read_that_hangs_is_ended_by_the_trainer_before_kubernetes_does_it():
    (container,) = pods()["trainer.yaml StatefulSet"]["spec"]["containers"]
    probe, hangs_secs = container["livenessProbe"], 4 * settings("tfonline-trainer").stream.broker_timeout_secs
    # 503 comes after --broker_timeout_secs, so that the probes fail for no longer than three times that.
    assert (probe["failureThreshold"] - 1) * probe["periodSeconds"] >= hangs_secs - hangs_secs / 4


def test_the_check_of_compose_asks_the_trainer_itself():
    trainer = settings("compose trainer").reporting
    address = f"http://{trainer.monitor_host}:{trainer.monitor_port}/healthz"
    assert f"urlopen('{address}')" in COMPOSE["services"]["trainer"]["healthcheck"]["test"][-1]
    assert trainer.monitor_host == "127.0.0.1"  # a healthcheck runs inside


def test_the_server_is_asked_at_an_address_that_it_has():
    (container,) = pods()["server.yaml Deployment"]["spec"]["containers"]
    source = (ROOT / "tfonline/serving/app.py").read_text()
    assert container["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert '"/healthz"' in source
    assert settings("server.yaml Deployment").http.port == container["ports"][0]["containerPort"]
    (models,) = (m for m in container["volumeMounts"] if m["name"] == "models")
    assert models["readOnly"] is True


def test_systemd_accepts_the_unit(tmp_path):
    text = (DEPLOY / "systemd/tfonline.service").read_text()
    # The program is not there before tfonline is installed; the rest of the unit is checked as it stands.
    (tmp_path / "tfonline.service").write_text(text.replace("/opt/tfonline/.venv/bin/python", sys.executable))
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "tfonline.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (tmp_path / "tfonline.service").write_text(text.replace("Restart=on-failure", "Restart=sometimes"))
    assert "sometimes" in subprocess.run(command, capture_output=True, text=True, check=False).stderr


def test_systemd_leaves_to_a_person_what_needs_one():
    service = unit()["Service"]
    assert service["Restart"] == "on-failure"
    assert {int(code) for code in service["RestartPreventExitStatus"].split()} == NEED_A_PERSON
    assert set(Exit) - NEED_A_PERSON == {Exit.OK, Exit.BUG, Exit.UNAVAILABLE, Exit.TRY_AGAIN}
    (folder,) = (f.partition("=")[2] for f in commands()["systemd"] if f.startswith("--model_dir="))
    assert folder.startswith(f"/var/lib/{service['StateDirectory']}/")


def test_the_batch_script_is_of_bash_and_slurm():
    path = DEPLOY / "slurm/train.sbatch"
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
    lines = SBATCH.splitlines()
    options = [line for line in lines if line.startswith("#SBATCH")]
    # sbatch reads them up to the first command.
    assert max(map(lines.index, options)) < lines.index("set -euo pipefail")
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", option) for option in options)
    given = dict(option.removeprefix("#SBATCH --").partition("=")[::2] for option in options)
    assert given["ntasks-per-node"] == "1"
    assert dict(arguments("slurm"))["--batch_size"] % int(given["nodes"]) == 0
    assert "--cluster=slurm" in commands()["slurm"]


@pytest.mark.parametrize("code", [0, 1, *NEED_A_PERSON, Exit.UNAVAILABLE, Exit.TRY_AGAIN, ENDED_BY_SIGALRM])
def test_the_batch_script_queues_itself_again_where_that_helps(tmp_path, code):
    for name, body in {"srun": f'echo "$@" > {tmp_path}/ran; exit {code:d}', "scontrol": f'echo "$@" > {tmp_path}/queued'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    variables = {"MODEL_DIR": "/m o", "DICTIONARY_DIR": "/d", "BOOTSTRAP_SERVERS": "h:1", "TOPIC": "t", "SLURM_JOB_ID": "7"}
    variables["PATH"] = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(["bash", str(DEPLOY / "slurm/train.sbatch")], env=variables, check=False)
    assert done.returncode == code
    assert "--model_dir=/m o " in (tmp_path / "ran").read_text()
    again = (tmp_path / "queued").read_text() if (tmp_path / "queued").exists() else ""
    assert again == ("requeue 7\n" if code in (Exit.UNAVAILABLE, Exit.TRY_AGAIN, ENDED_BY_SIGALRM) else "")


def test_the_batch_script_says_what_is_missing(tmp_path):
    command = ["bash", str(DEPLOY / "slurm/train.sbatch")]
    done = subprocess.run(command, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "MODEL_DIR: a folder that all nodes see" in done.stderr


def test_the_dockerfile_has_no_lint():
    hadolint = shutil.which("hadolint", path=str(pathlib.Path(sys.executable).parent))
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = subprocess.run([hadolint, "-"], input="FROM python\nRUN cd /x\n", capture_output=True, text=True, check=False)
    assert done.returncode == 1


def test_the_image_has_what_runs_and_no_more():
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall("^FROM (.*)$", text, re.MULTILINE) == ["python:3.11-slim AS packages", "python:3.11-slim"]
    last = text.rpartition("\nFROM ")[2]
    assert "pip" not in last
    assert "apt-get" not in text
    assert last.index("\nUSER 10001\n") < last.index("\nENTRYPOINT")
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for word in line.split()]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == allowed
    assert all((ROOT / name).exists() for name in copied)
    left_out = re.search(r"'\^\((.*)\)=='", text)[1].split("|")
    locked = {line.partition("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line}
    assert set(left_out) - locked == set()


def test_compose_is_of_the_compose_specification():
    text = (DEPLOY / "docker-compose.yaml").read_text()
    PyCompose.from_yaml(text).validate()
    for wrong in (text.replace("restart: on-failure", "restart: sometimes"), text.replace("entrypoint:", "entrypiont:")):
        with pytest.raises(ValueError, match=r"sometimes|entrypiont"):
            PyCompose.from_yaml(wrong)


def test_compose_has_the_broker_of_the_other_file():
    alone = yaml.safe_load((ROOT / "configs/kafka-compose.yaml").read_text())["services"]["kafka"]
    kafka = COMPOSE["services"]["kafka"]
    assert kafka["image"] == alone["image"]
    changed = {k for k in alone["environment"] if alone["environment"][k] != kafka["environment"].get(k)}
    assert changed == {"KAFKA_ADVERTISED_LISTENERS"}
    assert set(kafka["environment"]) == set(alone["environment"])
    assert kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://kafka:9092"


def test_compose_names_what_is_there():
    services, volumes = COMPOSE["services"], COMPOSE["volumes"]
    for service in services.values():
        assert set(service.get("depends_on", [])) <= set(services)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in volumes or source.startswith("../")
    assert services["server"]["volumes"] == ["data:/data:ro"]
    assert services["server"]["ports"] == ["127.0.0.1:8501:8501"]
    assert {services[name]["image"] for name in ("topic", "trainer", "server")} == {"tfonline:0.1.0"}
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert {c["image"] for p in pods().values() for c in p["spec"]["containers"]} == {f"tfonline:{version}"}
    assert "--bootstrap_servers=kafka:9092" in services["trainer"]["command"]


def test_the_topic_of_compose_can_be_made_twice(broker):
    service = COMPOSE["services"]["topic"]
    _, *tool = service["entrypoint"]
    flags = [f.replace("kafka:9092", broker.bootstrap).replace("=clicks", "=of-compose") for f in service["command"]]
    for _ in range(2):
        assert subprocess.run([sys.executable, *tool, *flags], cwd=ROOT, check=False, capture_output=True).returncode == 0
