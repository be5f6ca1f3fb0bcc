"""Kafka properties from flags and files, and that a secret among them is never shown."""

import json

import pytest
from config_helpers import SECRET, read, refusal, written

from tfonline.config import Config, kafka_properties
from tfonline.lifecycle import Exit


def test_a_properties_file_is_read_and_flags_win(tmp_path):
    file = written(
        tmp_path,
        f"# a comment\n\n  security.protocol = SASL_SSL \r\nsasl.password={SECRET}\nclient.id=file\nfetch.min.bytes=1\n"
        "fetch.min.bytes=2\n",
    )
    c = read(f"--kafka_properties_file={file}", "--kafka_property=client.id=flag", "--kafka_property=ssl.ca.location=ca.crt")
    assert kafka_properties(c) == {
        "security.protocol": "SASL_SSL",
        "sasl.password": SECRET,
        "client.id": "flag",
        "fetch.min.bytes": "2",
        "ssl.ca.location": "ca.crt",
    }


def test_no_properties_are_none():
    assert kafka_properties(Config()) == {}


def test_secrets_of_the_properties_file_are_not_in_the_resolved_config(tmp_path):
    c = read(f"--kafka_properties_file={written(tmp_path, f'sasl.password={SECRET}')}")
    for shown in (json.dumps(c.resolved()), repr(c)):
        assert SECRET not in shown
        assert "kafka.properties" in shown


@pytest.mark.parametrize(
    "key",
    [
        "sasl.password",
        "SASL.Password",
        "ssl.key.password",
        "ssl.keystore.password",
        "ssl.key.pem",
        "ssl.certificate.pem",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.client.secret",
        "sasl.jaas.config",
    ],
)
def test_a_secret_on_the_command_line_is_refused_unshown(key, tmp_path):
    in_file = written(tmp_path, f"--kafka_property={key}={SECRET}\n", "a.flags")
    for flag in (f"--kafka_property={key}={SECRET}", f"--flagfile={in_file}"):
        message, code = refusal(flag)
        assert code == Exit.FLAGS
        assert f"--kafka_property={key}=(hidden) is a secret" in message
        assert "Use --kafka_properties_file." in message
        assert SECRET not in message


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f"sasl.password {SECRET}", "is not key=value, such as security.protocol=SSL."),
        (f"={SECRET}", "is not key=value"),
        (f"sasl.password={SECRET}=", "the value of sasl.password holds '=', which the tensorflow-io reader refuses"),
    ],
)
def test_a_wrong_line_of_the_properties_file_is_named_and_its_value_is_not(tmp_path, line, problem):
    file = written(tmp_path, f"# first\n{line}\n")
    message, code = refusal(f"--kafka_properties_file={file}")
    assert code == Exit.FLAGS
    assert f"{file}:2" in message
    assert problem in message
    assert SECRET not in message


@pytest.mark.parametrize("flag", ["client.id", "=x", "client.id=a=b"])
def test_a_wrong_property_flag_is_named(flag):
    message, code = refusal(f"--kafka_property={flag}")
    assert code == Exit.FLAGS
    assert message.startswith(f"--kafka_property={flag}")


@pytest.mark.parametrize(
    ("key", "owner"),
    [
        ("bootstrap.servers", "--bootstrap_servers"),
        ("group.id", "--group"),
        ("enable.auto.commit", "tfonline itself"),
        ("auto.offset.reset", "tfonline itself"),
        ("isolation.level", "tfonline itself"),
        ("enable.partition.eof", "tfonline itself"),
    ],
)
def test_properties_of_the_trainer_itself_are_refused(tmp_path, key, owner):
    file = written(tmp_path, f"{key}=x\n")
    for flag in (f"--kafka_property={key}=x", f"--kafka_properties_file={file}"):
        message, code = refusal(flag)
        assert code == Exit.FLAGS
        assert f"{key} is set by {owner}. Leave it out." in message


def test_a_properties_file_that_cannot_be_read_is_missing_input(tmp_path):
    for path, why in ((tmp_path / "nowhere", "No such file or directory"), (tmp_path, "Is a directory")):
        message, code = refusal(f"--kafka_properties_file={path}")
        assert code == Exit.NO_INPUT
        assert message == f"--kafka_properties_file={path} cannot be read ({why})."


def test_a_properties_file_that_is_not_utf_8_is_refused_unshown(tmp_path):
    file = written(tmp_path, f"sasl.password={SECRET}\xfc\n".encode("latin-1"))
    message, code = refusal(f"--kafka_properties_file={file}")
    assert code == Exit.FLAGS
    assert file in message
    assert SECRET not in message


def test_a_byte_order_mark_is_no_part_of_a_property(tmp_path):
    (tmp_path / "kafka.properties").write_bytes(b"\xef\xbb\xbfsecurity.protocol=SSL\n")
    config = Config(kafka_properties_file=f"{tmp_path}/kafka.properties")
    assert kafka_properties(config) == {"security.protocol": "SSL"}
