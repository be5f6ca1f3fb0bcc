"""tools/topic.py against a real broker."""

import re

import command_line
import kafka_cli
import pytest
import topic as topic_tool
from kafka_helpers import run_tool

from tfonline.lifecycle import UserError
from tfonline.stream.metadata import name_topics


def test_create_describe_delete(broker):
    at = (f"--bootstrap_servers={broker.bootstrap}", "--topic=clicks")
    code, out, _ = run_tool("topic", "create", *at, "--partitions=3")
    assert (code, out) == (0, f"topic: created 'clicks' at {broker.bootstrap}, 3 partitions, replication 1\n")
    code, out, _ = run_tool("topic", "create", *at, "--partitions=3")
    assert (code, out) == (0, f"topic: 'clicks' is at {broker.bootstrap} already, with 3 partitions, replication 1\n")
    code, out, err = run_tool("topic", "create", *at, "--partitions=2")
    assert (code, out) == (64, "")
    assert "with 3 partitions, not --partitions=2. Use --partitions=3" in err
    code, out, _ = run_tool("topic", "delete", *at)
    assert (code, out) == (0, f"topic: deleted 'clicks' at {broker.bootstrap}: 3 partitions, 0 rows\n")
    assert run_tool("topic", "create", *at, "--partitions=2")[0] == 0  # at once, under the same name


@pytest.mark.parametrize(("brokers", "copies"), [(1, 1), (2, 2), (3, 3), (5, 3)])
def test_a_topic_gets_three_copies_where_there_are_brokers_for_them(brokers, copies):
    link = kafka_cli.Connection("mock", {"test.mock.num.brokers": str(brokers)})  # librdkafka's own cluster, in this process
    assert topic_tool.default_replication(link, link.admin()) == copies


def test_describe(broker, topic):
    name = topic([[b"a", b"b", b"c"], [b"d"]])
    code, out, _ = run_tool("topic", "describe", f"--bootstrap_servers={broker.bootstrap}", f"--topic={name}")
    first, *table = out.splitlines()
    assert code == 0
    assert re.fullmatch(rf"topic: {name} at {broker.bootstrap}, id [\w+/-]{{22}}", first)
    assert [line.split() for line in table] == [
        ["partition", "leader", "low", "high", "rows"],
        ["0", "1", "0", "3", "3"],
        ["1", "1", "0", "1", "1"],
        ["total:", "2", "partitions,", "4", "rows"],
    ]


@pytest.mark.parametrize("command", ["describe", "delete"])
def test_a_missing_topic(broker, topic, command):
    there = topic([[]])
    code, out, err = run_tool("topic", command, f"--bootstrap_servers={broker.bootstrap}", f"--topic={there}x")
    assert (code, out) == (66, "")
    assert f"the broker at {broker.bootstrap} has no topic '{there}x'" in err
    assert f"Topics there: {there}" in err or f", {there}" in err
    assert f"tools/topic.py create --topic={there}x" in err


def test_what_the_broker_refuses(broker):
    code, _, err = run_tool("topic", "create", f"--bootstrap_servers={broker.bootstrap}", "--topic=a", "--replication=3")
    assert code == 64
    assert "refuses to create 'a' (--partitions=2 --replication=3)" in err


def test_nobody_at_the_address():
    code, out, err = run_tool("topic", "describe", "--bootstrap_servers=localhost:1")
    assert (code, out) == (69, "")
    assert "no Kafka broker answers at localhost:1" in err
    assert "Connection refused" in err
    assert "tools/broker.py start" in err
    assert "Traceback" not in err


def test_secrets_are_never_printed(broker, tmp_path):
    file = tmp_path / "secrets"
    file.write_text("# the account\nsasl.username=me\nsasl.password=hunter2\nno.such.property=hunter3\n")
    code, out, err = run_tool("topic", "describe", f"--bootstrap_servers={broker.bootstrap}", f"--kafka_properties_file={file}")
    assert code == 64
    assert "no.such.property" in err
    assert "hunter" not in out + err
    file.write_text("sasl.username=me\nhunter2\n")
    code, out, err = run_tool("topic", "describe", f"--kafka_properties_file={file}")
    assert code == 64
    assert f"{file}:2 is not key=value" in err
    assert "hunter" not in out + err


def test_properties_go_over_the_files(tmp_path):
    file = tmp_path / "properties"
    file.write_text(" # comment\n\nbootstrap.servers = one:1\nsasl.password=ab=c==\nclient.id=file\n")
    parser = command_line.Parser()
    kafka_cli.add_connection_options(parser)
    options = [f"--kafka_properties_file={file}", "--kafka_property=client.id=option"]
    link = kafka_cli.connection(parser.parse_args(options))
    assert (link.bootstrap, link.properties) == ("one:1", {"sasl.password": "ab=c==", "client.id": "option"})
    assert "ab=c" not in repr(link)
    assert kafka_cli.connection(parser.parse_args([*options, "--bootstrap_servers=two:2"])).bootstrap == "two:2"
    with pytest.raises(UserError, match="cannot be read"):
        kafka_cli.connection(parser.parse_args(["--kafka_properties_file=/nowhere"]))


@pytest.mark.parametrize("wrong", [["create", "--partitions=0"], ["create", "--replication=x"], ["grow"], []])
def test_wrong_options(wrong):
    code, out, err = run_tool("topic", *wrong)
    assert (code, out) == (64, "")
    assert "topic.py --help" in err.replace("create ", "") or "topic.py create --help" in err


def test_the_names_most_like_the_missing_one_are_shown_where_there_are_many():
    many = [f"topic{i:03}" for i in range(100)]
    told = name_topics([*many, "__consumer_offsets", "clicks"], "click")
    assert told.startswith("clicks, ")
    assert told.endswith(" and 81 more")
    assert "__" not in told
    assert name_topics(["b", "a", "__consumer_offsets"], "c") == "a, b"
    assert name_topics(["__consumer_offsets"], "c") == "none"
