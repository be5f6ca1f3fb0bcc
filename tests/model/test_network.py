"""Networks by name: the contract for those that there are, and a user's own from the command line to its SavedModel."""

import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf
from contracts.networks import NUM_IDS, check_network
from kafka_helpers import ROOT
from learner_helpers import learner_by_flags
from logistic import Logistic
from rows import SCHEMA, make_dictionaries, make_rows
from shared_bottom import SharedBottom

from tfonline.config import parse
from tfonline.features.dictionaries import load_dictionaries
from tfonline.features.pipeline import Features
from tfonline.features.spec import Attended, Spec
from tfonline.keep.contract import check_contract
from tfonline.lifecycle import UserError
from tfonline.model.networks import wide_deep
from tfonline.model.networks.find import make_network
from tfonline.model.networks.network import Network
from tfonline.model.tables.optimizers import make_optimizer
from tfonline.model.tables.replicas import make_strategy
from tfonline.model.tables.table import TableSpec, normal
from tfonline.publish.servable import Servable
from tfonline.settings.model import ModelSettings, OptimizerSettings
from tfonline.train import run

ROWS = make_rows(400)
SMALL = {"embedding_dim": 3, "deep_layers": "8,4"}
ALL = ModelSettings(**SMALL, history=True, average_rows=50)
SCALED = Spec.of(NUM_IDS, num_fields=4, scaled_fields=2)
LISTED = Spec.of(NUM_IDS, num_fields=4, lists=(3,), scaled_fields=0)
ATTENDED = Spec.of(NUM_IDS, num_fields=5, scaled_fields=1, lists=(3, 3), attended=(Attended((3, 6), 1, ((6, 9),)),))
TWO_LABELS = Spec.of(NUM_IDS, num_fields=4, lists=(3,), scaled_fields=0, cross_buckets=50, heads=("click", "conversion"))


@pytest.mark.parametrize(
    "arguments",
    [
        (wide_deep.make,),
        (wide_deep.make, ALL),
        (wide_deep.make, None, SCALED),
        (Logistic,),
        (Logistic, None, SCALED),
        (SharedBottom, None, TWO_LABELS),
        (make_network, ModelSettings(**SMALL, network="din", din_units=4), ATTENDED),
        (make_network, ModelSettings(**SMALL, network="wide_deep", history=True), TWO_LABELS),
        (
            make_network,
            ModelSettings(**SMALL, network="dcn_v2", history=True, dcn_rank=2, table_optimizers="embedding:adagrad"),
            LISTED,
        ),
        (
            make_network,
            ModelSettings(**SMALL, network="deepfm", table_optimizers="embedding:rowwise_adagrad,linear:adagrad"),
            SCALED,
        ),
    ],
    ids=[
        "wide_deep",
        "wide_deep with all",
        "wide_deep, scaled",
        "logistic",
        "logistic, scaled",
        "shared bottom, two labels",
        "din",
        "wide_deep, two labels",
        "dcn_v2, lists",
        "deepfm, scaled",
    ],
)
def test_a_network_holds_the_contract(arguments):
    check_network(*arguments)


class Forgetful(Logistic):
    """Its bias is in no checkpoint."""

    def __init__(self, spec, settings):
        super().__init__(spec, settings)
        hidden = tf.Variable(0.1)
        self._hidden = lambda: hidden

    @property
    def dense_variables(self):
        return {"adam": [self.bias.value, self._hidden()]}

    def call(self, rows, inputs):
        return {head: x + self._hidden() for head, x in super().call(rows, inputs).items()}


class BatchMean(Logistic):
    """Its rows look at each other."""

    def call(self, rows, inputs):
        return {head: x - tf.reduce_mean(x) / 2 for head, x in super().call(rows, inputs).items()}


@pytest.mark.parametrize(
    ("network", "problem"), [(Forgetful, "after a restart, .* is another"), (BatchMean, "padding changes scores")]
)
def test_what_breaks_the_contract_is_found(network, problem):
    with pytest.raises(AssertionError, match=problem):
        check_network(network)


@pytest.fixture
def flags(tmp_path):
    """Reads the flags of a run of the tiny network, over as many rows as are asked for."""
    dictionaries = make_dictionaries(tmp_path / "d")

    def read(num_rows, *more):
        (tmp_path / "rows.tsv").write_bytes(b"".join(row + b"\n" for row in ROWS[:num_rows]))
        fixed = [f"--input_files={tmp_path}/rows.tsv", f"--dictionary_dir={dictionaries}", f"--model_dir={tmp_path}/model"]
        small = ["--stop_at=latest", "--window_rows=50", "--batch_size=20", "--loss_log_every_steps=1", "--network=logistic:make"]
        return parse(["", *fixed, *small, *more])

    return read


def test_a_network_of_ones_own_trains_resumes_and_is_served(flags, tmp_path):
    run(flags(200))
    config = flags(400)
    summary = run(config).summary
    assert summary["total"]["rows"] == 400
    lines = (tmp_path / "model/loss.log").read_text().splitlines()
    assert re.fullmatch(r"epoch: 1, step: 1, loss: [\d.]+, loss_with_l2: [\d.]+", lines[0])
    features = Features(SCHEMA, load_dictionaries(config.features.dictionary_dir, SCHEMA), config.features.numeric)
    learner = learner_by_flags(make_strategy(1, "cpu"), config, features.spec)
    checkpoint = tf.train.latest_checkpoint(config.keeping.model_dir)
    names = {name.partition("/.ATTRIBUTES")[0] for name, _ in tf.train.list_variables(checkpoint)}
    weights = {"learner/model/linear/table", "learner/model/bias"}
    slots = {f"learner/{slot}/0" for slot in ("ftrl/accumulators", "ftrl/linears", "adam/means", "adam/squares")}
    assert weights | slots | {"learner/adam/step"} <= names, names
    tf.train.Checkpoint(learner=learner).read(checkpoint).assert_existing_objects_matched().expect_partial()
    want = learner.score(features(tf.constant(ROWS)).features).numpy()
    assert len(np.unique(want)) > 100
    servable = Servable(config.model, SCHEMA, features)
    servable.load(checkpoint)
    servable.write(tmp_path / "saved")
    got = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"](message=tf.constant(ROWS))
    np.testing.assert_array_equal(got["logit"], want)


def test_a_resume_with_another_network_is_refused(flags):
    run(flags(100))
    with pytest.raises(UserError, match="network: the checkpoint has 'logistic:make', this run 'wide_deep'") as e:
        run(flags(100, "--network=wide_deep"))
    assert e.value.code == 78


def test_a_checkpoint_from_before_the_flag_is_one_of_wide_deep():
    check_contract("model", {"topic": "t"}, {"topic": "t", "network": "wide_deep"})
    with pytest.raises(UserError, match="network: the checkpoint has 'wide_deep', this run 'logistic:make'"):
        check_contract("model", {"topic": "t"}, {"topic": "t", "network": "logistic:make"})


def test_a_table_cannot_have_the_name_of_something_else():
    with pytest.raises(ValueError, match="a table cannot be named weights: each Keras model has an attribute of this name"):
        Network(SCALED, {"weights": TableSpec(1, "ftrl", normal(0.1, 1))}, "broken")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no_such", "there is no module tfonline.model.networks.no_such"),
        ("no_such.package:make", "there is no module no_such.package"),
        ("logistic:no_such", "logistic has no function no_such"),
        ("logistic:gives_no_network", "gives a int. Expected a Network"),
    ],
)
def test_a_network_that_is_not_there_is_said(name, problem):
    with pytest.raises(UserError, match=f"--network={name}.*{problem}") as e:
        make_network(SCALED, ModelSettings(network=name))
    assert e.value.code == 64


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"network": "deepfm", "table_optimizers": "wide:adam"}, "names a table wide, and --network=deepfm has linear, embedding"),
        ({"network": "dcn_v2", "average_rows": 9}, "--average_rows goes with --network=wide_deep alone"),
        ({"network": "din"}, "--network=din wants a column of kind categories that `shares` the ids of another column"),
        ({"network": "esmm"}, "--network=esmm wants two labels, click and conversion in this order. The columns have label."),
        ({"table_optimizers": "wide=adam"}, "--table_optimizers=wide=adam: 'wide=adam' is wrong. Expected a table's name, a colon"),
    ],
)
def test_what_a_network_cannot_do_is_said(settings, problem):
    with pytest.raises(UserError, match=problem):
        make_network(SCALED, ModelSettings(**settings))


def test_adagrad_by_hand_whole_and_by_row():
    start, g = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32), np.array([[0.3, 0.4], [0.0, 1.0]], np.float32)
    settings = OptimizerSettings(adagrad_learning_rate=0.1, adagrad_initial_accumulator=0.5, l2=0.01)
    for kind, squares in (("adagrad", np.square), ("rowwise_adagrad", lambda x: np.square(x).mean(axis=1, keepdims=True))):
        table, dense = tf.Variable(start), tf.Variable(start[:2])
        optimizer = make_optimizer(kind, [table, dense], settings, jit_compile=False)
        rows, n, of_dense, n_dense = start[[2, 0]], 0.5, start[:2], 0.5
        for _ in range(2):
            optimizer.apply([table, dense], [tf.IndexedSlices(g, [2, 0]), tf.constant(g)])
            sums = g + 0.01 * rows
            n, n_dense = n + squares(sums), n_dense + squares(g)
            rows, of_dense = rows - 0.1 * sums / np.sqrt(n), of_dense - 0.1 * g / np.sqrt(n_dense)
        np.testing.assert_allclose(table, [rows[1], start[1], rows[0]], rtol=1e-6)
        np.testing.assert_allclose(dense, of_dense, rtol=1e-6)
        assert optimizer.accumulators[0].shape == ([3, 2] if kind == "adagrad" else [3, 1])


def test_the_contracts_example_is_the_network_that_is_tested():
    text = pathlib.Path(wide_deep.__file__).parents[1].joinpath("__init__.py").read_text()
    source = (ROOT / "tests/helpers/logistic.py").read_text()
    code = source[source.index("class Logistic") : source.index("make = ")].strip()
    indented = "\n".join(f"    {line}" if line else "" for line in code.splitlines())
    assert indented in text


@pytest.mark.parametrize(("name", "file"), [("Logistic", "logistic"), ("SharedBottom", "shared_bottom")])
def test_the_documented_networks_are_those_that_are_tested(name, file):
    def the_class(text):
        return re.search(rf"class {name}.*?make = {name}\n", text, re.DOTALL)[0]

    documented, tested = (ROOT / name for name in ("docs/models.md", f"tests/helpers/{file}.py"))
    assert the_class(documented.read_text()) == the_class(tested.read_text())
    assert the_class(documented.read_text()).count("\n") <= 60
