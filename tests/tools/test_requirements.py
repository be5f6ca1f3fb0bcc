"""What the code imports is what each stack's file of requirements names, and its lock has all of it."""

import ast
import importlib.metadata
import re
import sys

import pytest
from kafka_helpers import ROOT

# The file of requirements, its lock, and which imports it has no package for.
STACKS = {
    "tf216": ("requirements.txt", "requirements.lock", set()),
    "tf221": ("requirements-tf221.txt", "requirements-tf221.lock", {"tensorflow-io"}),
}
stacks = pytest.mark.parametrize("stack", STACKS)


def named(file):
    """The packages that a file of requirements names, as pip compares them."""
    lines = (ROOT / file).read_text().splitlines()
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines if not line.startswith("#"))
    return {canonical(name[0]) for name in names if name}


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(folder):
    """The top-level modules that the code in a folder imports, inside functions, too."""
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module.split(".")[0]


def foreign(*folders):
    """The packages that folders import and that are neither Python's nor the project's."""
    own = {"tfonline", "benchmarks", "contracts"}
    own |= {path.stem for folder in ("tools", "tests") for path in (ROOT / folder).rglob("*.py")}
    modules = {module for folder in folders for module in imported(folder)} - own - sys.stdlib_module_names
    packages = importlib.metadata.packages_distributions()
    return {canonical(name) for module in modules for name in packages.get(module, [module])}


@stacks
def test_every_import_is_a_requirement(stack):
    file, _, lacking = STACKS[stack]
    spark = named("requirements-spark.txt")
    assert spark == {"pyspark", "py4j"}
    assert foreign("tfonline") - named(file) == lacking
    assert foreign("tools", "tests") - named(file) - spark == set()


def test_imports_are_found_wherever_they_stand():
    assert foreign("tfonline") >= {"tensorflow", "tensorflow-io", "tensorflow-serving-api", "confluent-kafka", "pyyaml", "absl-py"}


@stacks
def test_the_lock_has_every_requirement(stack):
    file, lock, _ = STACKS[stack]
    assert named(file) - named(lock) == set()


def test_the_stacks_differ_in_tensorflow_io_only():
    one, other = (named(file) for file, _, _ in STACKS.values())
    assert one - other == {"tensorflow-io"}
    assert other - one == set()


@stacks
def test_a_lock_names_versions_and_no_place_to_get_them_from(stack):
    lines = (ROOT / STACKS[stack][1]).read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"# .*|[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
