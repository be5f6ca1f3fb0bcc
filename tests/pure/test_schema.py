"""The columns: Criteo's 40, ranges of names, and what is refused."""

import pytest

from tfonline.features.schema import Schema, load_schema
from tfonline.lifecycle import Exit, UserError

CRITEO = ["label", *(f"I{i}" for i in range(1, 14)), *(f"C{i}" for i in range(1, 27))]


def load(folder, text: str | bytes) -> Schema:
    path = folder / "columns.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_schema(str(path))


def refusal(folder, text: str | bytes) -> str:
    with pytest.raises(UserError) as e:
        load(folder, text)
    assert e.value.code == Exit.FLAGS == 64
    assert str(e.value).startswith(f"--columns={folder}/columns.yaml ")
    return str(e.value)


def columns(*items: str) -> str:
    return "name: small\ncolumns:\n" + "".join(f"  - {{name: {n}, kind: {k}}}\n" for n, k in (i.split(":") for i in items))


def test_criteo_has_its_40_columns_in_order():
    schema = load_schema("configs/criteo.yaml")
    assert schema.name == "criteo"
    assert list(schema.names) == CRITEO
    assert schema.label == "label"
    assert list(schema.of_kind("integer")) == CRITEO[1:14]
    assert list(schema.of_kind("category")) == CRITEO[14:]
    assert schema.index("label", "I13", "C1", "C26") == [0, 13, 14, 39]
    assert (list(schema.ranged), list(schema.listed)) == (CRITEO[1:14], CRITEO[14:])


def test_columns_may_stand_in_any_order(tmp_path):
    schema = load(tmp_path, columns("C1:category", "I1..I2:integer", "click:label", "C2:category"))
    assert schema.names == ("C1", "I1", "I2", "click", "C2")
    assert (schema.label, schema.of_kind("integer"), schema.of_kind("category")) == ("click", ("I1", "I2"), ("C1", "C2"))
    assert (schema.ranged, schema.listed) == (("I1", "I2"), ("C1", "C2"))
    assert schema.index(*schema.of_kind("category")) == [0, 4]
    assert schema.index() == []


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("f2_1..f2_3", ("f2_1", "f2_2", "f2_3")),
        ("user_id", ("user_id",)),
        ("I1..I3", ("I1", "I2", "I3")),
        ("X7..X7", ("X7",)),
        ("C9..C11", ("C9", "C10", "C11")),
        ("I1", ("I1",)),
        ("age", ("age",)),
    ],
)
def test_a_range_stands_for_all_numbers_between(tmp_path, name, names):
    assert load(tmp_path, columns("label:label", f"{name}:integer")).of_kind("integer") == names


@pytest.mark.parametrize("name", ["I3..I1", "I1..C3", "I1..I", "I..I3", "a..b"])
def test_what_is_no_range_is_refused(tmp_path, name):
    assert f"{name!r} is no range of columns; expected one such as I1..I13" in refusal(
        tmp_path, columns("label:label", f"{name}:integer")
    )


@pytest.mark.parametrize("name", ["_C1", "C-1", "item.price", "1C", "''", "C1..", "'C 1'", "I1..I2..I3", "é"])
def test_what_is_no_name_is_refused(tmp_path, name):
    message = refusal(tmp_path, columns("label:label", f"{name}:category"))
    shown = name.strip("'")
    assert f"columns.1.category.name: Value error, '{shown}' is no column name." in message
    assert "Expected letters a-z, A-Z, digits and _, a letter first" in message
    assert "Where the messages have another name for it, that is the column's `path`." in message
    assert "[A-Za-z]" not in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (columns("I1:integer"), "expected at least one column of kind label, found none"),
        (columns("label:label"), "one column of kind integer, category, number, time or categories beside the label"),
        (columns("label:label", "I1..I3:integer", "I2:category"), "column names stand twice: I2; every column needs a name of its"),
        (columns("label:label", "label:integer"), "column names stand twice: label"),
        (columns("label:label", "I1:nonsense"), "columns.1: Input tag 'nonsense' found using 'kind' does not match any of"),
        (columns("label:label", "I1:integer") + "separator: tab\n", "separator: Extra inputs are not permitted"),
        ("name: x\ncolumns:\n  - {name: a, kind: label, default: 0}\n", "columns.0.label.default: Extra inputs are not permitted"),
        ("name: x\ncolumns:\n  - {name: a}\n", "columns.0: Unable to extract tag using discriminator 'kind'"),
        (
            "name: x\ncolumns:\n  - {name: a, kind: label}\n  - {name: b, kind: integer, default: x}\n",
            "the default of column b is 'x'; expected is a whole number",
        ),
        (
            "name: x\ncolumns:\n  - {name: a, kind: label}\n  - {name: I1..I2, kind: integer, path: item.price}\n",
            "'I1..I2' stands for several columns, and a path for one",
        ),
        ("name: x\ncolumns:\n  - {name: a, kind: label, positive: ['']}\n", "at least 1 character"),
        ("name: x\n", "columns: Field required"),
        ("name: x\ncolumns: 7\n", "columns: Input should be a valid tuple"),
        ("", "the file: Input should be a valid dictionary"),
        ("- a\n- b\n", "the file: Input should be a valid dictionary"),
    ],
)
def test_what_does_not_describe_a_row_is_refused(tmp_path, text, expected):
    message = refusal(tmp_path, text)
    assert "does not describe a row: " in message
    assert expected in message


@pytest.mark.parametrize("text", ["columns: [", "a: b: c", "\x00", b"name: \xff\n"])
def test_what_is_no_yaml_is_refused(tmp_path, text):
    assert "is not YAML" in refusal(tmp_path, text)


def test_yaml_runs_no_code(tmp_path):
    assert "is not YAML" in refusal(tmp_path, "!!python/object/apply:os.system ['true']")


def test_a_missing_file_is_missing_input(tmp_path):
    path = tmp_path / "nowhere.yaml"
    with pytest.raises(UserError) as e:
        load_schema(str(path))
    assert e.value.code == Exit.NO_INPUT == 66
    assert str(e.value) == (
        f"--columns={path} cannot be read (No such file or directory). Expected a YAML file such as configs/criteo.yaml."
    )


def test_a_schema_is_frozen():
    schema = load_schema("configs/criteo.yaml")
    with pytest.raises(ValueError, match="frozen"):
        schema.name = "other"
