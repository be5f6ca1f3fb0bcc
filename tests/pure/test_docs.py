"""What the documents name is there: tests, files and flags move, and a name that is not found misleads."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
TESTS = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/**/README.md")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_tests_that_it_names_are_there(document):
    wrong, file = [], ""
    # `::name` by itself is of the file that was named before it.
    for named, name in re.findall(r"(test_\w+\.py)?(?:::(\w+))?", document.read_text()):
        file = named or file
        if named and named not in TESTS:
            wrong.append(named)
        elif name and not re.search(rf"def {name}\b", TESTS.get(file, "")):
            wrong.append(f"{file}::{name}")
    assert wrong == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_files_that_it_names_are_there(document):
    named = set(
        re.findall(r"\b((?:tfonline|tests|tools|benchmarks|configs|deploy|docs|findings)/[\w/.-]*\w)", document.read_text())
    )
    missing = [name for name in sorted(named) if not (ROOT / name).exists() and not name.endswith(("-", "_"))]
    assert missing == []
