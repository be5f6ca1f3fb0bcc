"""The three pickles: what is read, what is refused, and that a pickle from elsewhere runs no code."""

import hashlib
import pathlib
import pickle
import struct

import numpy as np
import pytest
from rows import SMALL_SCHEMA as SCHEMA

from tfonline.features.dictionaries import Dictionaries, load_dictionaries, save_dictionaries
from tfonline.features.entries import Entries, take_apart
from tfonline.features.schema import Schema
from tfonline.lifecycle import Exit, UserError

MAX = {"I1": 7, "I2": 0}
MIN = {"I1": 0, "I2": -3}
IDS = {"I1": 0, "I2": 1, "OOVC1": 2, "OOVC2": 3, "C1_ab": 4, "C1_a_b": 5, "C2_é": 6}
FILES = ("all_val_max_dict.pkl", "all_val_min_dict.pkl", "cat2id_dict.pkl")


def write(folder: pathlib.Path, maximum=MAX, minimum=MIN, ids=IDS, protocol=pickle.DEFAULT_PROTOCOL) -> str:
    for name, content in zip(FILES, (maximum, minimum, ids), strict=True):
        data = content if isinstance(content, bytes) else pickle.dumps(content, protocol=protocol)
        (folder / name).write_bytes(data)
    return str(folder)


def refusal(folder: str) -> str:
    with pytest.raises(UserError) as e:
        load_dictionaries(folder, SCHEMA)
    assert e.value.code == Exit.DATA
    return str(e.value)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_of_every_protocol_load(tmp_path, protocol):
    assert load_dictionaries(write(tmp_path, protocol=protocol), SCHEMA) == Dictionaries(MAX, MIN, IDS)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", [np.int8, np.int32, np.int64, np.float32, np.float64, ">i4"])
def test_numpy_scalars_become_ints(tmp_path, kind, protocol):
    number = np.dtype(kind).type
    if kind == ">i4":
        number = lambda n: np.array([n], ">i4")[0]  # noqa: E731
    folder = write(tmp_path, *({k: number(v) for k, v in d.items()} for d in (MAX, MIN, IDS)), protocol=protocol)
    loaded = load_dictionaries(folder, SCHEMA)
    assert loaded == Dictionaries(MAX, MIN, IDS)
    assert {type(v) for d in (loaded.max, loaded.min, loaded.cat2id) for v in d.values()} == {int}


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_scalars_load_under_the_names_of_numpy_1_and_2(tmp_path, module):
    # np.float64(7.0) by hand, in protocol 0's text opcodes and binary ones, so that the installed numpy has no say.
    dtype = b"cnumpy\ndtype\n(X\x02\x00\x00\x00f8K\x00K\x01tR(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    scalar = f"c{module}\nscalar\n(".encode() + dtype + b"C\x08" + struct.pack("<d", 7.0) + b"tR"
    maximum = b"\x80\x03}(X\x02\x00\x00\x00I1" + scalar + b"X\x02\x00\x00\x00I2K\x00u."
    assert load_dictionaries(write(tmp_path, maximum=maximum), SCHEMA).max == {"I1": 7, "I2": 0}


class Evil:
    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return pathlib.Path.touch, (self.witness,)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", FILES)
def test_a_pickle_that_would_run_code_is_refused_unrun(tmp_path, name, protocol):
    folder, witness = write(tmp_path), tmp_path / "ran"
    (tmp_path / name).write_bytes(pickle.dumps({"I1": Evil(witness)}, protocol=protocol))
    message = refusal(folder)
    assert not witness.exists()
    assert f"{name} is refused: it asks for " in message
    assert "which could run code" in message


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.", "builtins.getattr"),
        (b"cnumpy\nndarray\n.", "numpy.ndarray"),
        (pickle.dumps({"I1": np.array([1])}), "_reconstruct"),
        (pickle.dumps({"I1": np.array([None])}), "_reconstruct"),
    ],
)
def test_the_refused_global_is_named(tmp_path, data, named):
    assert named in refusal(write(tmp_path, ids=data))


def test_an_object_scalar_is_refused(tmp_path):
    data = b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(X\x01\x00\x00\x00OI00\nI01\ntRI1\ntR."
    assert "a numpy scalar of type 'O'" in refusal(write(tmp_path, maximum=data))


@pytest.mark.parametrize("data", [b"", b"no pickle at all", b"\x80\x04", pickle.dumps(IDS)[:-5]])
def test_a_damaged_file_is_refused(tmp_path, data):
    assert "cat2id_dict.pkl is refused: " in refusal(write(tmp_path, ids=data))


@pytest.mark.parametrize(
    ("part", "content", "expected"),
    [
        ("ids", [1, 2], "holds a list"),
        ("maximum", {"I1": 7, "I2": "3"}, "holds ('I2', '3'). Expected names and whole numbers"),
        ("maximum", {"I1": 7, "I2": 0.5}, "holds ('I2', 0.5). Expected names and whole numbers"),
        ("maximum", {"I1": 7, "I2": float("nan")}, "holds ('I2', nan)"),
        ("maximum", {"I1": 7, "I2": float("inf")}, "holds ('I2', inf)"),
        ("minimum", {"I1": 0, 2: 0}, "holds (2, 0)"),
        ("maximum", {"I1": 7}, "all_val_max_dict.pkl lacks the integer columns I2 of the data set 'small'"),
        ("minimum", {}, "all_val_min_dict.pkl lacks the integer columns I1, I2"),
        ("minimum", {**MIN, "I3": 0}, "all_val_min_dict.pkl holds I3, no integer columns"),
        ("minimum", {"I1": 8, "I2": 1}, "holds minima above the maxima (I1: 8 > 7, I2: 1 > 0)"),
        ("ids", {k: v for k, v in IDS.items() if k != "OOVC2"}, "lacks the keys OOVC2"),
        ("ids", {**IDS, "I1": 1, "I2": 0}, "has other ids than the columns' order gives (I1: 1 instead of 0, I2: 0 instead of 1)"),
        ("ids", {**IDS, "C3_x": 7, "odd": 8}, "holds 2 keys of no column of the data set 'small': C3_x, odd"),
        ("ids", {**IDS, **{f"D{i}": 7 + i for i in range(9)}}, "holds 9 keys of no column of the data set 'small': D0, D1, D2, D3, "
         "D4 and 4 more"),
        ("ids", {**IDS, "C1_": 7}, "holds 1 keys of no column of the data set 'small': C1_"),
        ("ids", {**IDS, "C2_x": 6}, "gives the id 6 twice. Expected every id from 0 to 7 once"),
        ("ids", {**IDS, "C2_x": 8}, "leaves out the id 7. Expected every id from 0 to 7 once"),
        ("ids", {**IDS, "C2_x": 10**30}, "leaves out the id 7"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_columns_is_refused(tmp_path, part, content, expected):
    message = refusal(write(tmp_path, **{part: content}))
    assert expected in message
    assert "tools/process_data.py" in message


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_says_what_makes_it(tmp_path, name):
    folder = write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=r"python tools/process_data\.py FILES --output_dir=") as e:
        load_dictionaries(folder, SCHEMA)
    assert e.value.code == Exit.NO_INPUT
    assert str(e.value).startswith(f"{tmp_path / name} cannot be read (No such file or directory)")


def test_a_missing_folder_is_missing_input(tmp_path):
    with pytest.raises(UserError) as e:
        load_dictionaries(str(tmp_path / "nowhere"), SCHEMA)
    assert e.value.code == Exit.NO_INPUT


def test_round_trip_and_equal_bytes(tmp_path):
    backwards = Dictionaries(*(dict(reversed(d.items())) for d in (MAX, MIN, IDS)))
    numpy_made = Dictionaries(*({k: np.int64(v) for k, v in d.items()} for d in (MAX, MIN, IDS)))
    for name, d in {"a": Dictionaries(MAX, MIN, IDS), "b": backwards, "c": numpy_made}.items():
        save_dictionaries(str(tmp_path / name), d)
    for name in "abc":
        assert load_dictionaries(str(tmp_path / name), SCHEMA) == Dictionaries(MAX, MIN, IDS)
        assert sorted(f.name for f in (tmp_path / name).iterdir()) == sorted(FILES)
        for file in FILES:
            assert (tmp_path / name / file).read_bytes() == (tmp_path / "a" / file).read_bytes()
    assert list(pickle.loads((tmp_path / "b" / FILES[2]).read_bytes())) == list(IDS)


def test_a_save_that_fails_leaves_the_old_files_alone(tmp_path, monkeypatch):
    save_dictionaries(str(tmp_path), Dictionaries(MAX, MIN, IDS))
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    real_dump = pickle.dump

    def full_disk(content, f, protocol):
        if "OOVC1" in content:
            f.write(b"half")
            raise OSError(28, "No space left on device")
        real_dump(content, f, protocol)

    monkeypatch.setattr(pickle, "dump", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_dictionaries(str(tmp_path), Dictionaries({**MAX, "I1": 9}, MIN, IDS))
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before


def test_num_ids():
    assert Dictionaries(MAX, MIN, IDS).num_ids == 7
    assert Dictionaries({}, {}, {}).num_ids == 0


def test_categories_come_in_the_order_of_ids():
    backwards = Dictionaries(MAX, MIN, dict(reversed(IDS.items())))
    entries, ids = backwards.values_of(SCHEMA.listed)
    assert entries.column.tolist() == [0, 0, 1]
    assert texts(entries) == [b"ab", b"a_b", "é".encode()]
    assert ids.tolist() == [4, 5, 6]
    assert entries.column.dtype == entries.size.dtype == ids.dtype == np.int64


def test_categories_may_be_none():
    entries, ids = Dictionaries(MAX, MIN, {k: v for k, v in IDS.items() if v < 4}).values_of(SCHEMA.listed)
    assert (entries.column.tolist(), texts(entries), ids.tolist()) == ([], [], [])


@pytest.mark.parametrize("columns", [["C1", "C2"], ["C2"], []])
def test_many_keys_are_taken_apart_like_few(monkeypatch, columns):
    keys = [
        "C1_a",
        "C1",
        "C1_",
        "",
        "_",
        "_a",
        "C2_é_x",
        "C3_b",
        "OOVC1",
        "C1_" + 40 * "long",
        "c1_a",
        "C2_b c",
        "C2__",
        "C1_\x00\n",
    ]
    few = take_apart(keys, columns)
    monkeypatch.setattr("tfonline.features.entries.MANY", 0)
    for found in (take_apart(keys, columns), take_apart([], columns)):
        wanted = few if len(found.column) else Entries(few.column[:0], few.size[:0], b"")
        assert found.content == wanted.content
        for one, other in zip(found[:2], wanted[:2], strict=True):
            assert one.dtype == other.dtype
            assert one.tolist() == other.tolist()


def texts(entries):
    stops = np.cumsum(entries.size).tolist()
    return [entries.content[stop - size : stop] for size, stop in zip(entries.size.tolist(), stops, strict=True)]


def test_fingerprint_depends_on_content_alone(tmp_path):
    d = Dictionaries(MAX, MIN, IDS)
    content = (
        '[["I1", 7], ["I2", 0]]\n[["I1", 0], ["I2", -3]]\n'
        '[["I1", "I2", "OOVC1", "OOVC2", "C1_ab", "C1_a_b", "C2_\\u00e9"], [0, 1, 2, 3, 4, 5, 6]]\n'
    )
    assert d.fingerprint() == hashlib.sha256(content.encode()).hexdigest()
    assert Dictionaries(*(dict(reversed(x.items())) for x in (MAX, MIN, IDS))).fingerprint() == d.fingerprint()
    assert load_dictionaries(write(tmp_path, protocol=0), SCHEMA).fingerprint() == d.fingerprint()


@pytest.mark.parametrize(
    "other",
    [
        Dictionaries({**MAX, "I1": 8}, MIN, IDS),
        Dictionaries(MAX, {**MIN, "I2": -4}, IDS),
        Dictionaries(MIN, MAX, IDS),
        Dictionaries(MAX, MIN, {**IDS, "C2_x": 7}),
        Dictionaries(MAX, MIN, {**IDS, "C1_ab": 5, "C1_a_b": 4}),
    ],
)
def test_fingerprint_tells_a_difference(other):
    assert other.fingerprint() != Dictionaries(MAX, MIN, IDS).fingerprint()


UNDERSCORES = Schema.model_validate(
    {
        "name": "underscores",
        "columns": [
            {"name": "click", "kind": "label"},
            {"name": "item_price", "kind": "integer"},
            {"name": "user_id", "kind": "category"},
            {"name": "user_device_id", "kind": "category"},
        ],
    }
)


def test_names_with_underscores_are_told_from_values(tmp_path):
    ids = {"item_price": 0, "OOVuser_id": 1, "OOVuser_device_id": 2, "user_id_a_b": 3, "user_device_id_user_id_7": 4}
    folder = write(tmp_path, {"item_price": 7}, {"item_price": 0}, ids)
    loaded = load_dictionaries(folder, UNDERSCORES)
    entries, ids = loaded.values_of(UNDERSCORES.listed)
    assert (entries.column.tolist(), texts(entries), ids.tolist()) == ([0, 1], [b"a_b", b"user_id_7"], [3, 4])


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ([("user", "category"), ("user_id", "category")], ("user", "user_id")),
        ([("user", "category"), ("user_age", "integer")], ("user", "user_age")),
        ([("OOVa", "category"), ("a_b", "category")], ("OOVa", "a_b")),
    ],
)
def test_names_whose_values_look_alike_in_the_dictionaries_are_refused(tmp_path, columns, named):
    columns = [{"name": name, "kind": kind} for name, kind in [("click", "label"), *columns]]
    schema = Schema.model_validate({"name": "ambiguous", "columns": columns})
    with pytest.raises(UserError, match=f"the values of column {named[0]} stand under {named[0]}_<value>.* {named[1]}[. ]") as e:
        load_dictionaries(str(tmp_path), schema)
    assert e.value.code == Exit.FLAGS
