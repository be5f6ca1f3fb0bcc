"""--reader: when tensorflow-io's reader is taken, and what is said where it is not."""

import importlib.util

import pytest

from tfonline.lifecycle import UserError
from tfonline.stream.readers.choose import choose_reader

TLS = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.password": "hunter2"}
CANNOT = {
    "OAUTHBEARER": ({"sasl.mechanism": "OAUTHBEARER"}, 2, "cannot log in by OAUTHBEARER"),
    "an equals sign": ({"sasl.password": "hunter2="}, 2, "the value of sasl.password holds '=', which tensorflow-io refuses"),
    "host names, asked for": ({**TLS, "ssl.endpoint.identification.algorithm": "https"}, 2, "never connects with"),
    "partitions": ({}, 1025, "the topic has 1,025 partitions, and tensorflow-io can read 1,024 at most"),
}
RATHER_NOT = {
    "SCRAM": ({"sasl.mechanisms": "SCRAM-SHA-512"}, 2, "cannot log in by SCRAM-SHA-512 to Kafka 4"),
    "TLS": (TLS, 2, "does not verify that a broker's certificate is for its host name"),
}


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)


@pytest.mark.parametrize("properties", [{}, {"client.id": "me"}, {**TLS, "ssl.endpoint.identification.algorithm": "none"}])
def test_auto_takes_tensorflow_io_where_it_can_and_says_nothing(properties):
    assert choose_reader("auto", properties, 1024, num_workers=2) == ("tfio", "")


@pytest.mark.parametrize("case", [*CANNOT, *RATHER_NOT])
def test_auto_takes_the_consumer_where_tensorflow_io_would_not_do_and_says_why(case):
    properties, num_partitions, why = {**CANNOT, **RATHER_NOT}[case]
    reader, said = choose_reader("auto", properties, num_partitions, num_workers=2)
    assert (reader, why in said, "hunter2" in said) == ("consumer", True, False), said


@pytest.mark.parametrize("case", CANNOT)
def test_tensorflow_io_is_refused_where_it_cannot(case):
    properties, num_partitions, why = CANNOT[case]
    with pytest.raises(UserError) as e:
        choose_reader("tfio", properties, num_partitions, num_workers=2)
    assert e.value.code == 64
    assert why in str(e.value)
    assert str(e.value).endswith(". Use --reader=consumer, or auto.")
    assert "hunter2" not in str(e.value)


@pytest.mark.parametrize("case", RATHER_NOT)
def test_what_is_asked_for_is_taken_where_it_can(case):
    assert choose_reader("tfio", RATHER_NOT[case][0], 2, num_workers=1) == ("tfio", "")
    assert choose_reader("consumer", RATHER_NOT[case][0], 2, num_workers=1) == ("consumer", "")


def test_without_tensorflow_io_it_is_the_consumer(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert choose_reader("auto", {}, 2, 1) == ("consumer", "tensorflow-io is not installed; it goes with TensorFlow 2.16 only")
    with pytest.raises(UserError, match="tensorflow-io is not installed"):
        choose_reader("tfio", {}, 2, 1)


def test_processes_are_the_consumers():
    assert choose_reader("auto", {}, 2, 1, num_processes=3) == ("consumer", "--reader_processes=3 is for that reader alone")
    assert choose_reader("consumer", {}, 2, 1, num_processes=3) == ("consumer", "")
