"""Which reader --reader takes, and what it says of it."""

import types

import pytest

from tfonline.lifecycle import Exit, UserError
from tfonline.stream.readers import choose
from tfonline.stream.readers.choose import open_reader, why_not_tfio

SECRET = "hush-hush="
TLS = {"security.protocol": "SSL"}
LOG_IN = {"security.protocol": "SASL_SSL", "ssl.endpoint.identification.algorithm": "none"}


def why(properties=(), partitions=2, workers=1, tfio="0.37.1", tensorflow="2.16.2"):
    return why_not_tfio(dict(properties), partitions, workers, tfio, tensorflow)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"tfio": None}, "tensorflow-io is not installed"),
        ({"tensorflow": "2.21.0"}, "tensorflow-io 0.37.1 needs TensorFlow 2.16, and 2.21.0 is installed"),
        ({"properties": LOG_IN | {"sasl.mechanism": "SCRAM-SHA-512"}}, "does not log in everywhere by SCRAM-SHA-512"),
        ({"properties": LOG_IN | {"sasl.mechanisms": "OAUTHBEARER"}}, "does not log in everywhere by OAUTHBEARER"),
        ({"properties": {"sasl.password": SECRET}}, "does not take the value of sasl.password, which holds '='"),
        ({"properties": TLS | {"ssl.endpoint.identification.algorithm": "https"}}, "identification.algorithm=https"),
        ({"partitions": 513}, "the topic has 513 partitions"),
        ({"partitions": 1025, "workers": 2}, "reads 512 a worker at most"),
    ],
)
def test_why_tensorflow_io_cannot_read_a_topic(asked, words):
    found = why(**asked)
    assert words in found
    assert SECRET not in found


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"partitions": 512},
        {"partitions": 1024, "workers": 2},
        {"properties": LOG_IN | {"sasl.mechanism": "PLAIN"}},
        {"properties": {"sasl.mechanism": "SCRAM-SHA-256"}},  # without a log-in it says nothing
        {"properties": TLS},
    ],
)
def test_what_it_can_read(asked):
    assert why(**asked) == ""


def test_tfio_is_refused_where_it_cannot_and_the_other_is_named():
    topic = types.SimpleNamespace(name="clicks", num_partitions=1000)
    with pytest.raises(UserError) as e:
        open_reader("tfio", topic, "", "", {}, 1, print)
    assert e.value.code == Exit.FLAGS
    assert str(e.value).startswith("--reader=tfio cannot read topic clicks: ")
    assert str(e.value).endswith(" Use --reader=consumer, or auto.")


def test_host_names_are_verified_where_nobody_has_said_no():
    assert choose._unverified(TLS) == "the tensorflow-io reader does not verify the brokers' host names over TLS"
    assert choose._unverified({}) == choose._unverified(LOG_IN) == ""
