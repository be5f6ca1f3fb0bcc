"""The server between two versions: each delta in one step, and each that is not as it should be is found."""

import threading
import time

import numpy as np
import pytest
from delta_helpers import Chain
from serving_helpers import publish, serving

from tfonline.deltas.folder import Key
from tfonline.publish.versions import Versions
from tfonline.serving.models import Models


@pytest.fixture
def said():
    return []


@pytest.fixture
def models(tmp_path, said):
    return Models(Versions(tmp_path), said.append)


@pytest.fixture
def chain(tmp_path):
    """Version 1, whose logit is the message's length, and its deltas."""
    chain = Chain(tmp_path / "deltas", {"_factor": np.float32(1)}, version=1)
    publish(tmp_path, 1.0, state=chain.state, newest_row_time=5.0)
    return chain


def served(models):
    """The version, the delta and the logit of three letters."""
    found = models.current.score("serving_default", {"message": ["abc"]})
    return found.at.version, found.at.delta, found["logit"].item()


def test_deltas_are_applied_in_order_as_they_come(chain, models):
    chain.make({"_factor": 2.0})
    models.look()
    assert served(models) == (1, "1.1", 6)  # who starts takes the version and what came after it
    chain.make({"_factor": 3.0})
    chain.make({"_factor": 4.0}, newest_row_time=77.5)
    assert served(models) == (1, "1.1", 6)
    models.look()
    assert served(models) == (1, "1.3", 12)
    assert models.current.weights.at.newest_row_time == 77.5
    assert (models.loads, models.deltas.applied, models.deltas.why) == (1, 3, "")


def test_a_delta_that_is_large_is_not_kept_and_applied_all_the_same(chain, models, monkeypatch):
    monkeypatch.setattr("tfonline.deltas.weights._KEPT_BYTES", 0)
    chain.make({"_factor": 2.0})
    models.look()
    assert served(models) == (1, "1.1", 6)
    assert models.current.weights.computed() == chain.checksum


def test_one_whose_parts_are_of_no_variable_changes_nothing(chain, models, monkeypatch):
    def of_another_program(changes):
        yield {"_other": np.zeros(3, np.float32)}

    monkeypatch.setattr("tfonline.deltas.file._parts", of_another_program)
    chain.make({"_factor": 2.0})
    models.look()
    assert served(models) == (1, "0", 3)
    assert models.deltas.problems["unreadable"] == 1
    assert "not what is expected of a delta" in models.deltas.why


def test_a_version_that_deltas_have_led_to_is_not_loaded(chain, models, tmp_path, said):
    models.look()
    before = models.current
    chain.make({"_factor": 2.0})
    state = chain.state
    chain.make({"_factor": 3.0})
    models.look()
    publish(tmp_path, 2.0, state=state)
    (tmp_path / "2" / "saved_model.pb").write_bytes(b"no model")  # whoever loaded it would see
    models.look()
    assert served(models) == (2, "1.2", 9)
    assert models.current.weights is before.weights
    assert models.current.manifest["step"] == 2000
    assert said[-1] == "serving version 2 (step 2000), to which deltas have led"
    assert models.loads == 1
    chain.make({"_factor": 5.0})
    models.look()
    assert served(models) == (2, "1.3", 15)


@pytest.mark.parametrize(
    "other",
    [
        {"state": {"checksum": "0" * 16, "epoch": 1, "number": 1}},  # another model's
        {"state": {"checksum": "0" * 16, "epoch": 0, "number": 0}},
        {"libraries": {"tensorflow": "another"}},
        {"rolled_back_to": 1},
        {"state": None},
    ],
)
def test_any_other_version_is_loaded(chain, models, tmp_path, other):
    chain.make({"_factor": 2.0})
    models.look()
    publish(tmp_path, 4.0, **{"state": chain.state, **other})
    models.look()
    assert served(models)[::2] == (2, 12)
    assert models.loads == 2


def problems(models):
    return {kind: count for kind, count in models.deltas.problems.items() if count}


def test_a_missing_delta_is_found_and_applied_when_it_comes(chain, models, tmp_path, said):
    models.look()
    second = [chain.make({"_factor": 2.0}), chain.make({"_factor": 3.0}), chain.make({"_factor": 4.0})][1]
    content = second.read_bytes()
    second.unlink()
    models.look()
    models.look()
    assert served(models) == (1, "1.1", 6)
    assert problems(models) == {"missing": 1}
    assert models.deltas.why == "delta 2 of epoch 1 is missing"
    assert sum("delta 2 of epoch 1 is missing" in line for line in said) == 1
    second.write_bytes(content)
    models.look()
    assert served(models) == (1, "1.3", 12)
    assert models.deltas.why == ""


def test_after_a_missing_delta_the_next_version_mends_it(chain, models, tmp_path):
    models.look()
    chain.make({"_factor": 2.0}).unlink()
    chain.make({"_factor": 3.0})
    models.look()
    assert served(models) == (1, "0", 3)
    publish(tmp_path, 3.0, state=chain.state)
    chain.make({"_factor": 4.0})
    models.look()
    assert served(models) == (2, "1.3", 12)
    assert models.loads == 2


def test_a_delta_that_is_cut_or_changed_is_found(chain, models, said):
    models.look()
    path = chain.make({"_factor": 2.0})
    content = path.read_bytes()
    for damaged in (content[:-100], content[:60] + b"x" + content[61:], b""):
        path.write_bytes(damaged)
        models.look()
        assert served(models) == (1, "0", 3)
    assert problems(models) == {"unreadable": 3}
    assert "its digest is another" in said[-1]
    path.write_bytes(content)
    models.look()
    assert served(models) == (1, "1.1", 6)


def test_a_doubled_delta_is_found(chain, models):
    first = chain.make({"_factor": 2.0})
    models.look()
    chain.folder.file(Key(1, 2)).write_bytes(first.read_bytes())
    models.look()
    assert served(models) == (1, "1.1", 6)
    assert problems(models) == {"misnamed": 1}
    assert "000001-000002.delta holds delta 1 of epoch 1" in models.deltas.why


def test_swapped_deltas_are_found(chain, models):
    one, other = chain.make({"_factor": 2.0}), chain.make({"_factor": 3.0})
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])
    models.look()
    assert served(models) == (1, "0", 3)
    assert problems(models) == {"misnamed": 1}


def test_another_models_delta_is_found(chain, models, tmp_path):
    models.look()
    chain.make({"_factor": 2.0})
    models.look()
    foreign = Chain(tmp_path / "elsewhere", {"_factor": np.float32(9)}, version=1)
    foreign.make({"_factor": 8.0})
    second = foreign.make({"_factor": 7.0})
    chain.folder.file(Key(1, 2)).write_bytes(second.read_bytes())
    models.look()
    assert (served(models), problems(models)) == ((1, "1.1", 6), {"foreign": 1})
    assert "was not made after the delta before it" in models.deltas.why
    # A later epoch of another model does not hide what goes on.
    chain.number = 1
    chain.digest = models.deltas._digest
    chain.make({"_factor": 3.0})
    Chain(tmp_path / "deltas", {"_factor": np.float32(9)}, version=1, epoch=9).make({"_factor": 8.0})
    models.look()
    assert (served(models), problems(models)) == ((1, "1.2", 9), {"foreign": 2})


def test_one_that_leads_elsewhere_than_it_says_changes_nothing(chain, models):
    models.look()
    path = chain.make({"_factor": 2.0}, checksum="0" * 16)
    models.look()
    assert (served(models), problems(models)) == ((1, "0", 3), {"foreign": 1})
    path.unlink()
    chain.number = 0
    chain.checksum = chain.root
    chain.variables["_factor"] = np.float32(1)[...]
    chain.make({"_factor": 5.0}, previous="")
    models.look()
    assert served(models) == (1, "1.1", 15)


@pytest.mark.parametrize(
    ("variables", "changed"),
    [
        ({"other": np.float32(1)}, {"other": 2.0}),
        ({"_factor": np.ones(3, np.float32)}, {"_factor": np.zeros(3)}),
        ({"_factor": np.float64(1)}, {"_factor": 2.0}),
    ],
    ids=["name", "shape", "dtype"],
)
def test_deltas_for_other_variables_are_found(chain, models, variables, changed):
    chain.variables = {name: np.array(value) for name, value in variables.items()}
    chain.make(changed)
    models.look()
    assert (served(models), problems(models)) == ((1, "0", 3), {"foreign": 1})
    assert "it is for other variables" in models.deltas.why


def test_a_later_epoch_makes_void_what_was_applied(chain, models, tmp_path, said):
    for factor in (2.0, 3.0):
        chain.make({"_factor": factor})
    models.look()
    again = Chain(tmp_path / "deltas", {"_factor": np.float32(1)}, version=1, epoch=2)
    again.make({"_factor": 2.5})
    chain.make({"_factor": 4.0})  # of the epoch before: too late
    models.look()
    assert served(models) == (1, "2.1", 7.5)
    assert "epoch 2: the trainer went on from window 11" in said[-1]
    again.make({"_factor": 3.5})
    models.look()
    assert served(models) == (1, "2.2", 10.5)
    assert models.loads == 1


def test_a_later_epoch_whose_first_delta_is_not_there_keeps_void_ones_from_being_applied(chain, models, tmp_path):
    models.look()
    again = Chain(tmp_path / "deltas", {"_factor": np.float32(1)}, version=1, epoch=2)
    again.make({"_factor": 2.5}).write_bytes(b"cut")
    chain.make({"_factor": 4.0})
    models.look()
    assert (served(models), problems(models)) == ((1, "0", 3), {"unreadable": 1})


def test_deltas_of_a_version_that_was_left_do_not_fit_the_one_that_was_gone_back_to(chain, models, tmp_path):
    chain.make({"_factor": 2.0})
    publish(tmp_path, 2.0, state=chain.state)
    chain.make({"_factor": 50.0})
    models.look()
    assert served(models)[2] == 150
    Versions(tmp_path).roll_back(why="bad scores")
    models.look()
    models.look()
    assert served(models) == (3, "0", 3)
    assert problems(models) == {}
    Chain(tmp_path / "deltas", {"_factor": np.float32(1)}, version=3, epoch=2).make({"_factor": 1.5})
    models.look()
    assert served(models) == (3, "2.1", 4.5)


def test_a_version_from_before_there_were_deltas(tmp_path, models):
    publish(tmp_path, 1.0)
    Chain(tmp_path / "deltas", {"_factor": np.float32(1)}, version=1).make({"_factor": 2.0})
    models.look()
    assert served(models) == (1, "1.1", 6)


def test_who_only_serves_writes_nothing_and_no_folder_is_no_problem(tmp_path, models, said):
    publish(tmp_path, 1.0)
    models.look()
    models.look()
    assert not (tmp_path / "deltas").exists()
    assert (len(said), problems(models)) == (1, {})


def test_requests_see_the_weights_before_a_delta_or_after_it(chain, models):
    """While a delta is applied again and again, no batch is scored by a part of it, and each says which it was scored by."""
    models.look()
    seen, end = set(), threading.Event()

    def ask():
        while not end.is_set():
            seen.add(served(models)[1:])

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(2, 12):
        chain.make({"_factor": float(number)})
        models.look()
        deadline = time.monotonic() + 60
        while (f"1.{number - 1}", 3.0 * number) not in seen:
            assert time.monotonic() < deadline
    end.set()
    for thread in threads:
        thread.join()
    assert seen == {("0", 3.0), *((f"1.{n - 1}", 3.0 * n) for n in range(2, 12))}


def test_a_servers_process_tells_by_what_it_scores(chain, tmp_path):
    row = {"instances": ["abc"]}
    with serving(tmp_path, tmp_path / "server.log") as server:
        server.wait_until("tfonline_version", 1)
        _, headers, _ = server.ask("POST", "/v1/models/tfonline:predict", row)
        assert (headers["tfonline-version"], headers["tfonline-delta"]) == ("1", "0")
        chain.make({"_factor": 2.0}, newest_row_time=time.time() - 100)
        server.wait_until("tfonline_delta_number", 1)
        _, headers, content = server.ask("POST", "/v1/models/tfonline:predict", row)
        assert (headers["tfonline-version"], headers["tfonline-delta"]) == ("1", "1.1")
        assert content["predictions"][0]["logit"] == 6
        _, _, about = server.ask("GET", "/versions")
        assert about["served"]["delta"]["at"] == "1.1"
        chain.make({"_factor": 3.0}).write_bytes(b"cut")
        server.wait_until('tfonline_delta_problems_total{problem="unreadable"}', 1)
        metrics = server.metrics()
        assert metrics["tfonline_deltas_applied_total"] == 1
        assert metrics['tfonline_delta_problems_total{problem="missing"}'] == 0
        assert 100 <= metrics["tfonline_version_newest_row_age_seconds"] < 200
