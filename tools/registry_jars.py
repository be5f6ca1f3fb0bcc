"""The jars of Apicurio Registry: found, or fetched by Maven as one file, compared with its digest, and unpacked."""

import contextlib
import hashlib
import pathlib
import shutil
import sys
import tarfile
import tempfile

import maven

from tfonline.lifecycle import Exit, UserError

ROOT = pathlib.Path(__file__).resolve().parent.parent
VERSION = "2.6.13.Final"

_FILE = f"apicurio-registry-app-{VERSION}-all.tar.gz"
_SHA256 = "3cda1b34aa020fb4ac4dd6a66018d757e81e437f97e20a1f92d366b70091c6ba"


def jar() -> pathlib.Path:
    """Finds or fetches the jars; returns the one that `java -jar` runs, which finds the others in lib/ beside it.

    Raises:
      UserError: Maven is missing or fails, or what it fetched is another file (exit 66).
    """
    folder = ROOT / ".kafka" / f"apicurio-registry-{VERSION}"
    if not folder.exists():
        _fetch(folder)
    return folder / f"apicurio-registry-app-{VERSION}-runner.jar"


def _fetch(folder: pathlib.Path) -> None:
    """Unpacks beside `folder` and renames, so that an interrupted download is never taken for a whole one."""
    if not shutil.which("mvn"):
        raise UserError(
            f"no jars of Apicurio Registry {VERSION} here and no Maven (mvn) to fetch them. Install both: apt-get install "
            "maven openjdk-17-jre-headless.",
            Exit.NO_INPUT,
        )
    print(f"registry: fetching Apicurio Registry {VERSION} with Maven, once (142 MB) ...", file=sys.stderr)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        fetched, unpacked = pathlib.Path(temporary) / "fetched", pathlib.Path(temporary) / "unpacked"
        goal = ["-f", str(ROOT / "tools" / "apicurio" / "pom.xml"), "dependency:copy-dependencies"]
        status, errors = maven.run("registry", *goal, f"-DoutputDirectory={fetched}")
        if status or not (fetched / _FILE).exists():
            raise UserError(
                f"Maven could not fetch Apicurio Registry {VERSION} (status {status}): {' '.join(errors[:1])} Check the network.",
                Exit.NO_INPUT,
            )
        with open(fetched / _FILE, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != _SHA256:
            raise UserError(
                f"Maven fetched another {_FILE} than the one that is expected: its SHA-256 is {digest}, not {_SHA256}. Delete "
                "io/apicurio/apicurio-registry-app in Maven's local repository (~/.m2/repository) and try again; if that "
                "does not help, the repository that Maven asks is not to be trusted.",
                Exit.NO_INPUT,
            )
        with tarfile.open(fetched / _FILE) as file:
            file.extractall(unpacked, filter="data")
        # Another process may have been faster: its folder is as good.
        with contextlib.suppress(OSError):
            unpacked.rename(folder)
