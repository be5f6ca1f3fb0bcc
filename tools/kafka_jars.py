"""The jars of Apache Kafka and the Java that runs them: found, fetched by Maven, or an error that says what to install."""

import contextlib
import os
import pathlib
import re
import shutil
import sys
import tempfile

import maven
from java_process import find_java

from tfonline.lifecycle import Exit, UserError

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEFAULT_VERSION = "4.3.0"

_KAFKA_JAR = re.compile(r"kafka_2\.\d+-(\d+\.\d+\.\d+)\.jar")


def jars(version: str | None = None) -> tuple[str, pathlib.Path]:
    """Finds or fetches the jars of Apache Kafka; returns its version and the folder of jars.

    Raises:
      UserError: KAFKA_HOME holds no Kafka or another version, Maven is missing or fails (exit 66 or 64).
    """
    home = os.environ.get("KAFKA_HOME")
    if home:
        return _jars_of_home(pathlib.Path(home) / "libs", version)
    version = version or DEFAULT_VERSION
    libs = ROOT / ".kafka" / f"libs-{version}"
    if not libs.exists():
        _fetch_jars(version, libs)
    return version, libs


def _jars_of_home(libs: pathlib.Path, version: str | None) -> tuple[str, pathlib.Path]:
    found = [match[1] for jar in libs.glob("kafka_2.*.jar") if (match := _KAFKA_JAR.fullmatch(jar.name))]
    if not found:
        raise UserError(
            f"{libs} holds no kafka_2.13-VERSION.jar. KAFKA_HOME must name an unpacked Apache Kafka (the folder with "
            "bin, config and libs); or unset it to let Maven fetch the jars.",
            Exit.NO_INPUT,
        )
    if version and version != found[0]:
        raise UserError(
            f"--version={version} but KAFKA_HOME holds Apache Kafka {found[0]}. Leave out --version, or unset KAFKA_HOME.",
            Exit.FLAGS,
        )
    return found[0], libs


def _fetch_jars(version: str, libs: pathlib.Path) -> None:
    """Resolves the jars beside `libs` and renames, so that an interrupted download is never taken for a whole one."""
    if not shutil.which("mvn"):
        raise UserError(
            f"no jars of Apache Kafka {version} here and no Maven (mvn) to fetch them. Install both: apt-get install maven "
            "openjdk-17-jre-headless; or set KAFKA_HOME to an unpacked Apache Kafka.",
            Exit.NO_INPUT,
        )
    print(f"broker: fetching the jars of Apache Kafka {version} with Maven, once (50 to 100 MB) ...", file=sys.stderr)
    libs.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{libs.name}-", dir=libs.parent) as folder:
        fetched = pathlib.Path(folder) / "libs"
        goal = ["-f", str(ROOT / "tools" / "kafka" / "pom.xml"), "dependency:copy-dependencies"]
        options = ["-DincludeScope=runtime", f"-Dkafka.version={version}", f"-DoutputDirectory={fetched}"]
        status, errors = maven.run("broker", *goal, *options)
        if status or not (fetched / f"kafka_2.13-{version}.jar").exists():
            raise UserError(
                f"Maven could not fetch Apache Kafka {version} (status {status}): {' '.join(errors[:1])} Check that "
                "this version exists and the network, or set KAFKA_HOME to an unpacked Apache Kafka.",
                Exit.NO_INPUT,
            )
        # Another process may have been faster: its folder is as good.
        with contextlib.suppress(OSError):
            fetched.rename(libs)


def java(version: str) -> str:
    """The path of a java command that is new enough for this version of Kafka; raises as `find_java` does."""
    return find_java(f"Apache Kafka {version}", 17 if int(version.split(".")[0]) >= 4 else 11)
