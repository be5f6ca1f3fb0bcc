"""Fixtures for all rooms: a real Apache Kafka for the whole session, topics on it, and runs of the trainer.

What they need is imported where it is used: the tests of tests/pure must do without TensorFlow and without Kafka's clients.
"""

import functools
import gc
import os

import pytest
from hypothesis import HealthCheck, settings

import tfonline  # noqa: F401 - before TensorFlow: it says whether that takes oneDNN, and so what the last bits of products are

# No test depends on how fast the machine is: by default Hypothesis fails an example that takes more than 200 ms.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported
# A broker of a test lives for seconds. Java's second compiler would take as long, for code that nobody runs again.
_JAVA_OPTIONS = "JDK_JAVA_OPTIONS"
os.environ.setdefault(_JAVA_OPTIONS, "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")

# First, where several processes share the files: the last one to be taken is worked on alone. They must find the same tests, so
# that no parameter may hold time or chance, as the head of gzip.compress does without mtime.
_LONGEST = ("test_chaos.py", "test_cluster.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in _LONGEST)


def pytest_pycollect_makemodule(module_path):
    if "pure" not in module_path.parts:
        _make_two_devices()  # before a test's module is imported, and with it TensorFlow runs something


@functools.cache
def _make_two_devices() -> None:
    """Replicas of one test must not depend on which test ran first."""
    import tensorflow as tf

    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)


@pytest.fixture(scope="module", autouse=True)
def what_was_there_before_is_not_looked_at():
    """Each run of a trainer calls the garbage collector, which took longer for what earlier tests have left than the tests took."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    """A running broker of its own: `broker.bootstrap` is its address."""
    import broker as broker_tool

    data = tmp_path_factory.mktemp("kafka")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(_JAVA_OPTIONS)  # it lives for long
        started = broker_tool.start(data)
    yield started
    broker_tool.stop(data)


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    """A running schema registry of its own: `registry.url` is where it answers."""
    import registry as registry_tool

    data = tmp_path_factory.mktemp("registry")
    yield registry_tool.start(data, timeout_secs=300)
    registry_tool.stop(data)


@pytest.fixture(scope="session")
def topic(broker):
    """Makes a topic: topic([[b"a", b"b"], [b"c"]]) has two partitions with these rows; returns its name, a new one."""
    import kafka_helpers

    def make(rows: list[list[bytes]]) -> str:
        return kafka_helpers.make_topic(broker.bootstrap, rows)

    return make


@pytest.fixture(scope="session")
def tensorflow_io():
    """What is about tensorflow-io's reader, and no other one, asks for it."""
    from tfonline.stream.readers.choose import has_tensorflow_io

    if not has_tensorflow_io():
        pytest.skip("this environment has no tensorflow-io")


@pytest.fixture
def small(tmp_path):
    """A folder with small.yaml: label, I1, I2, C1, C2."""
    import process_data_helpers

    (tmp_path / "small.yaml").write_text(process_data_helpers.SMALL_YAML)
    return tmp_path


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """A running session of Spark, which process_data uses: its start takes seconds."""
    import process_data
    import process_data_helpers
    import process_data_spark

    folder = tmp_path_factory.mktemp("spark")
    args = process_data.parse_args(["rows", f"--output_dir={folder}", "--engine=spark", "--memory_limit=1GB", "--threads=1"])
    with pytest.MonkeyPatch.context() as m:
        m.setenv("JDK_JAVA_OPTIONS", process_data_helpers.QUICK_JAVA)
        session = process_data_spark.start(args, str(folder))
    yield session
    session.stop()


@pytest.fixture(params=["duckdb", "spark"])
def engine(request):
    """Each engine of process_data, as its flag says it."""
    if request.param == "spark":
        request.getfixturevalue("spark")
    return request.param


@pytest.fixture(scope="session")
def dictionary_dir(tmp_path_factory):
    from rows import make_dictionaries

    return make_dictionaries(tmp_path_factory.mktemp("dictionaries"))


@pytest.fixture
def small_run(broker, dictionary_dir, tmp_path):
    """Flags of a run with a small model; the topic is left out."""
    return {
        "bootstrap_servers": broker.bootstrap,
        "dictionary_dir": dictionary_dir,
        "model_dir": str(tmp_path / "model"),
        "batch_size": 32,
        "embedding_dim": 2,
        "deep_layers": "4",
        "report_secs": 0.001,
    }


@pytest.fixture
def start(small_run):
    """Runs the trainer in this process; returns its summary."""
    from tfonline import config as flags
    from tfonline.train import run

    def start(stop=None, **settings):
        return run(flags.of_flags(**{**small_run, "stop_at": "latest", **settings}), stop).summary

    return start


# As root, Chromium has no sandbox; and nothing of its own goes out.
_CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    """A Chromium without a window."""
    import shutil

    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert path, "tests of pages need Chromium or Chrome on PATH; `make test` installs Debian's where it may"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """A page of it; `problems` gets what goes wrong in scripts and what the console calls an error."""
    page = browser.new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda message: message.type == "error" and page.problems.append(message.text))
    yield page
    page.close()


@pytest.fixture
def produce(broker):
    """Appends rows to a partition of a topic."""
    from confluent_kafka import Producer

    def produce(name, rows, partition=0):
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        for row in rows:
            producer.produce(name, row, partition=partition)
        producer.flush()

    return produce
