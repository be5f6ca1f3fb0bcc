"""Kafka properties from flags and files, and that a secret among them is never shown."""

import json
import pathlib
import types

import command_line
import kafka_cli
import pytest
from config_helpers import SECRET, read, refusal, written
from kafka_helpers import run_tool

from tfonline.config import Config, kafka_properties
from tfonline.lifecycle import Exit, UserError
from tfonline.stream.properties import read_properties, without_secrets
from tfonline.stream.readers.tfio import TfioReader


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
        "sasl.oauthbearer.assertion.private.key.passphrase",
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
    ],
)
def test_a_wrong_line_of_the_properties_file_is_named_and_its_value_is_not(tmp_path, line, problem):
    file = written(tmp_path, f"# first\n{line}\n")
    message, code = refusal(f"--kafka_properties_file={file}")
    assert code == Exit.FLAGS
    assert f"{file}:2" in message
    assert problem in message
    assert SECRET not in message


@pytest.mark.parametrize("flag", [SECRET, f"={SECRET}", f"sasl.password {SECRET}", f"client.id {SECRET}"])
def test_a_property_flag_that_is_none_is_numbered_and_not_shown(flag):
    message, code = refusal("--kafka_property=client.id=x", f"--kafka_property={flag}")
    assert code == Exit.FLAGS
    assert message == "--kafka_property number 2 is not key=value, such as security.protocol=SSL."


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
        assert message.startswith(f"--kafka_property={key}: " if "file" not in flag else f"{file}:1: ")


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


def test_the_file_is_read_once_however_often_it_is_asked(tmp_path, monkeypatch):
    file, reads = written(tmp_path, "client.id=a"), []
    read_text = pathlib.Path.read_text
    monkeypatch.setattr(pathlib.Path, "read_text", lambda path, **how: reads.append(str(path)) or read_text(path, **how))
    config = Config(kafka_properties_file=file)
    assert [kafka_properties(config) for _ in range(3)] == [{"client.id": "a"}] * 3
    assert reads == [file]


GRAMMAR = "\ufeff# first\r\n  a.b = 1=2 \r\n\n#c=3\na.b=x\x0by\u2028z\nlast="


def test_trainer_and_tools_read_one_grammar(tmp_path):
    file = written(tmp_path, GRAMMAR)
    parser = command_line.Parser()
    kafka_cli.add_connection_options(parser)
    options = [f"--kafka_properties_file={file}", "--bootstrap_servers=a:1", "--kafka_property=client.id=b=c"]
    assert kafka_cli.connection(parser.parse_args(options)).properties == {"a.b": "x\x0by\u2028z", "last": "", "client.id": "b=c"}
    places = [(p.key, p.where) for p in read_properties(file, [])]
    assert places == [("a.b", f"{file}:2"), ("a.b", f"{file}:5"), ("last", f"{file}:6")]


@pytest.mark.parametrize(
    ("option", "said"), [(f"sasl.password={SECRET}", "is a secret, and flags are seen by all"), (SECRET, "number 1 is not")]
)
def test_a_secret_among_a_tools_options_is_refused_unshown(option, said):
    code, out, err = run_tool("topic", "describe", "--bootstrap_servers=localhost:1", f"--kafka_property={option}")
    assert code == 64
    assert said in err
    assert SECRET not in out + err


def test_an_error_of_a_library_is_shown_without_the_secret_that_it_quotes():
    """tensorflow-io quotes a property that it refuses, librdkafka a list of settings that it does not understand."""
    secrets = {"sasl.oauthbearer.client.secret": SECRET, "ssl.key.password": "", "client.id": "me"}
    said = f"sasl.oauthbearer.client.secret={SECRET}error:No such configuration property of me"
    assert without_secrets(said, secrets) == "sasl.oauthbearer.client.secret=(hidden)error:No such configuration property of me"
    topic = types.SimpleNamespace(name="clicks", num_partitions=1)
    for properties, quoted in (
        (secrets, "Failed to do global configuration: sasl.oauthbearer.client.secret=(hidden)error:No such configuration property"),
        ({"sasl.oauthbearer.config": f"a={SECRET}"}, "Invalid global configuration: sasl.oauthbearer.config=(hidden)"),
    ):
        with pytest.raises(UserError) as e:
            TfioReader(topic, "localhost:1", "test", properties).check()
        assert e.value.code == 64
        assert str(e.value).startswith(f"the tensorflow-io reader refuses a Kafka property: {quoted}")
        assert e.value.__suppress_context__  # the op's own error quotes it
