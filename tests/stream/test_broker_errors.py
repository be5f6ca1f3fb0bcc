"""What keeps a client from a broker: each cause has a text and an exit code of its own, for the trainer and the tools."""

import json
import socket
import subprocess
import sys
import threading

import broker as broker_tool
import pytest
import secure_kafka
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from kafka_cli import Connection
from kafka_helpers import make_topic
from secure_kafka import PASSWORD

from tfonline.lifecycle import Stop, UserError
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.broker_errors import ClientEvents
from tfonline.stream.dead_letters import DeadLetters
from tfonline.stream.readers import tfio
from tfonline.stream.readers.tfio import TfioReader

WRONG = "wrong-48"


@pytest.fixture(scope="module")
def kafka(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secure")
    with pytest.MonkeyPatch.context() as m:
        yield secure_kafka.start(folder, m)
        broker_tool.stop(folder / "data")


@pytest.fixture(scope="module")
def clicks(kafka):
    return make_topic(kafka.plain, [[b"a", b"b"], []])


# Each: the address, the properties, the exit code, and how the trainer's message goes on behind its head.
REFUSED = {
    "another password": (
        lambda k: (k.log_in, k.log_in_by("PLAIN", WRONG)),
        "refuses the log-in: SASL authentication error: Authentication failed: Invalid username or password. Correct "
        "sasl.mechanism, sasl.username and sasl.password in --kafka_properties_file.",
    ),
    "another password, SCRAM": (
        lambda k: (k.log_in, k.log_in_by("SCRAM-SHA-256", WRONG)),
        "refuses the log-in: SASL authentication error: Authentication failed during authentication due to invalid credentials "
        "with SASL mechanism SCRAM-SHA-256.",
    ),
    "a mechanism that the listener has not": (
        lambda k: (k.log_in, k.log_in_by("SCRAM-SHA-512")),
        "broker's supported mechanisms: PLAIN,SCRAM-SHA-256. Correct sasl.mechanism",
    ),
    "no log-in": (
        lambda k: (k.log_in, {}),
        "wants a log-in at this port, and security.protocol=PLAINTEXT has none. Set security.protocol=SASL_PLAINTEXT with",
    ),
    "a log-in where none is taken": (
        lambda k: (k.plain, k.log_in_by("PLAIN")),
        "takes no log-in at this port, and security.protocol=SASL_PLAINTEXT gives one. Use the port",
    ),
    "TLS where none is": (
        lambda k: (k.plain, {"security.protocol": "ssl"}),
        "listens without TLS at this port, and security.protocol=SSL uses it. Use the port of its listener with TLS, or set "
        "security.protocol=PLAINTEXT in --kafka_properties_file.",
    ),
    "TLS where a log-in without it is": (
        lambda k: (k.log_in, {**k.log_in_by("PLAIN"), "security.protocol": "SASL_SSL"}),
        "listens without TLS at this port, and security.protocol=SASL_SSL uses it. Use the port of its listener with TLS, or set "
        "security.protocol=SASL_PLAINTEXT in",
    ),
    "no TLS where it is": (
        lambda k: (k.tls, {}),
        "listens with TLS at this port, and security.protocol=PLAINTEXT has none. Set security.protocol=SSL and ssl.ca.location in "
        "--kafka_properties_file, or use the port of its listener without TLS.",
    ),
    "a certificate that is not trusted": (
        lambda k: (k.tls, {"security.protocol": "SSL", "ssl.ca.location": k.stranger}),
        "is not trusted (certificate verify failed). Set ssl.ca.location in --kafka_properties_file to a file with the certificate "
        "of who issued it, and use a name of the broker in --bootstrap_servers that stands in the certificate.",
    ),
    "a certificate of another name": (
        lambda k: (k.tls.replace("localhost", "127.0.0.1"), {"security.protocol": "SSL", "ssl.ca.location": k.certificate}),
        "is not trusted (certificate verify failed)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_trying_again_does_not_mend_is_not_tried_again(kafka, clicks, case):
    given, said = REFUSED[case]
    servers, properties = given(kafka)
    lines = []
    with pytest.raises(UserError) as e:
        KafkaTopic(servers, clicks, "test", properties, 3600.0, Stop(), lines.append)
    assert (e.value.code, said in str(e.value)) == (77, True), str(e.value)
    assert str(e.value).startswith(("the Kafka broker at ", "the certificate of the Kafka broker at ", servers))
    assert servers in str(e.value)
    assert WRONG not in str(e.value)
    assert lines == []  # not told that it is tried again


@pytest.mark.parametrize(
    "case", ["another password", "TLS where none is", "no TLS where it is", "a certificate that is not trusted"]
)
def test_the_tools_tell_the_same_of_it(kafka, case):
    given, said = REFUSED[case]
    link = Connection(*given(kafka))
    with pytest.raises(UserError) as e:
        link.topics(link.admin())
    assert (e.value.code, said in str(e.value)) == (77, True), str(e.value)


AWAY = {
    "no such name": ("name.invalid:9092", "no address is known for name.invalid:9092 (Name or service not known). Correct --boot"),
    "nobody listens": ("localhost:1", "nothing listens at localhost:1 (Connection refused). C"),
}


@pytest.mark.parametrize("case", AWAY)
@pytest.mark.parametrize("properties", [{}, {"security.protocol": "SSL"}])
def test_a_broker_that_may_come_back_is_waited_for(case, properties):
    servers, said = AWAY[case]
    lines = []
    with pytest.raises(UserError) as e:
        KafkaTopic(servers, "clicks", "test", properties, 0.1, Stop(), lines.append)
    head = f"the Kafka broker at {servers} did not answer for 0.1 s while reading the list of topics: "
    assert (e.value.code, str(e.value).startswith(head + said)) == (69, True), str(e.value)
    assert len(lines) == 1
    link = Connection(servers, properties)
    with pytest.raises(UserError) as e:
        link.topics(link.admin())
    assert (e.value.code, str(e.value).startswith(f"no Kafka broker answers at {servers} within 5 s: {said}")) == (69, True)


class Closing:
    """A server that takes connections and closes them at once, as a proxy does whose broker is away."""

    def __enter__(self):
        self._socket = socket.create_server(("localhost", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return f"localhost:{self._socket.getsockname()[1]}"

    def __exit__(self, *_):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self):
        while True:
            try:
                self._socket.accept()[0].close()
            except OSError:
                return


@pytest.mark.parametrize("properties", [{}, {"security.protocol": "SSL"}])
def test_connections_that_are_only_closed_may_be_a_broker_that_restarts(properties):
    lines = []
    with Closing() as servers, pytest.raises(UserError) as e:
        KafkaTopic(servers, "clicks", "test", properties, 0.1, Stop(), lines.append)
    assert (e.value.code, len(lines)) == (69, 1)


def test_a_broker_without_the_right_for_the_topic_is_not_asked_again(kafka):
    name = make_topic(kafka.plain, [[b"a"]])
    admin = AdminClient({"bootstrap.servers": kafka.plain})
    group = ("secret-group", ResourcePatternType.LITERAL)
    rule = (*group, "User:other", "*", AclOperation.ALL, AclPermissionType.ALLOW)  # so that nobody else may
    for done in admin.create_acls([AclBinding(ResourceType.GROUP, *rule)]).values():
        done.result(30)
    topic = KafkaTopic(kafka.log_in, name, "test", kafka.log_in_by("PLAIN"), 3600.0, Stop(), print)
    with pytest.raises(UserError, match="does not let this account do so") as e:
        topic.committed("secret-group")
    assert e.value.code == 77
    for done in admin.delete_acls([AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, *[None] * 2, AclOperation.ANY,
                                                   AclPermissionType.ANY)]).values():  # fmt: skip
        done.result(30)


def test_events_of_a_time_that_is_over_explain_nothing(kafka, clicks):
    """A broker that restarts refuses log-ins until it knows its users."""
    topic = KafkaTopic(kafka.log_in, clicks, "test", kafka.log_in_by("PLAIN"), 5.0, Stop(), print)

    class Refused:
        def name(self):
            return "_AUTHENTICATION"

        def str(self):
            return "sasl_plaintext://localhost:1/1: SASL authentication error: not yet (after 1ms in state AUTH_REQ)"

    events = topic.events
    for _ in range(2):
        events.note(Refused())
    assert events.refusal() is None  # once or twice may be a broker that starts
    events.note(Refused())
    assert events.refusal().what == "the Kafka broker at localhost:1 refuses the log-in: SASL authentication error: not yet"
    assert topic.ends() == [2, 0]
    assert events.cause() is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "_SSL",
            "ssl://localhost:1/1: SSL handshake failed: ssl/tls alert handshake failure: SSL alert number 40 (after 3ms in state)",
        ),
        (
            "_TRANSPORT",
            "ssl://localhost:1/1: Receive failed: ssl/tls alert bad certificate: SSL alert number 42 (after 1ms in state UP)",
        ),
    ],
)
def test_a_broker_that_wants_a_clients_certificate_is_not_taken_for_one_that_is_away(name, text):
    class Alert:
        def name(self):
            return name

        def str(self):
            return text

    events = ClientEvents("localhost:1", {"security.protocol": "SSL"})
    for _ in range(3):
        events.note(Alert())
    cause = events.refusal()
    assert (cause.code, "set ssl.certificate.location and ssl.key.location" in cause.remedy) == (77, True)
    assert cause.what.startswith("the Kafka broker at localhost:1 refuses this side of TLS: ")


def test_a_token_that_another_server_did_not_give_may_come_later():
    class NoToken:
        def name(self):
            return "_AUTHENTICATION"

        def str(self):
            return "Failed to acquire SASL OAUTHBEARER token: timed out with key hunter2"

    events = ClientEvents("localhost:1", {"security.protocol": "SASL_SSL", "sasl.oauthbearer.client.secret": "hunter2"})
    for _ in range(5):
        events.note(NoToken())
    cause = events.cause()
    assert (cause.code, cause.what) == (69, "Failed to acquire SASL OAUTHBEARER token: timed out with key (hidden)")


def test_dead_letters_say_that_the_log_in_is_refused(kafka, clicks):
    letters = DeadLetters(kafka.log_in, clicks, "clicks", kafka.log_in_by("PLAIN", WRONG), 2.0, Stop(), print)
    letters.send(0, 1, "fields", b"bad")
    with pytest.raises(UserError, match="refuses the log-in: SASL authentication error") as e:
        letters.flush()
    assert e.value.code == 77
    assert "Correct sasl.mechanism" in str(e.value)


def test_a_property_that_does_not_suit_a_producer_is_a_wrong_flag():
    with pytest.raises(UserError, match=r"does not suit --dead_letter_topic=dead: .*acks") as e:
        DeadLetters("localhost:1", "dead", "clicks", {"acks": "0"}, 1.0, Stop(), print)
    assert e.value.code == 64


# The tensorflow-io reader's own log-in


@pytest.mark.usefixtures("tensorflow_io")
@pytest.mark.parametrize("kind", ["PLAIN", "TLS"])
def test_the_reader_logs_in_before_anything_is_trained(kafka, clicks, kind):
    servers, properties = (
        (kafka.log_in, kafka.log_in_by("PLAIN"))
        if kind == "PLAIN"
        else (kafka.tls, {"security.protocol": "SSL", "ssl.ca.location": kafka.certificate})
    )
    topic = KafkaTopic(servers, clicks, "test", properties, 30.0, Stop(), print)
    TfioReader(topic, servers, "test", properties).check()


CHECK = """
import json, os, sys
from tfonline.lifecycle import Stop, UserError
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.readers.tfio import TfioReader
servers, name, properties, secs = json.loads(sys.argv[1])
topic = KafkaTopic(servers, name, "test", properties, secs, Stop(), print)
print(topic.ends(), flush=True)
try:
    TfioReader(topic, servers, "test", properties).check()
except UserError as e:
    print(f"{e.code} {e}", flush=True)
os._exit(0)  # the op waits inside C++, where nothing reaches it
"""


@pytest.mark.usefixtures("tensorflow_io")
def test_scram_with_kafka_4_is_refused_before_anything_is_trained(kafka, clicks):
    """The admin side logs in by it; the reader's librdkafka 1.5 cannot."""
    given = json.dumps([kafka.log_in, clicks, kafka.log_in_by("SCRAM-SHA-256"), 3.0])
    done = subprocess.run([sys.executable, "-c", CHECK, given], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == [
        "[2, 0]",
        f"77 the tensorflow-io reader cannot log in to the Kafka broker at {kafka.log_in} by SCRAM-SHA-256. It has a librdkafka of "
        "its own, version 1.5; the admin side and the tools use a newer one, and do log in. Before version 2.6.1 that library's "
        "SCRAM does not work with Kafka 4. Use PLAIN over TLS (security.protocol=SASL_SSL, sasl.mechanism=PLAIN), a client's "
        "certificate (SSL), or brokers of Kafka 3.",
    ]
    assert PASSWORD not in done.stdout + done.stderr


@pytest.mark.usefixtures("tensorflow_io")
def test_a_reader_that_gets_no_answer_for_another_reason_may_be_tried_again(kafka, clicks, monkeypatch):
    properties = kafka.log_in_by("PLAIN")
    topic = KafkaTopic(kafka.log_in, clicks, "test", properties, 0.2, Stop(), print)
    reader, asked = TfioReader(topic, kafka.log_in, "test", properties), threading.Event()
    op = reader._op
    monkeypatch.setattr(reader, "_op", lambda spec, rows: asked.wait(60) and [] if spec.numpy().endswith(b":3") else op(spec, rows))
    with pytest.raises(UserError, match=r"cannot log in to .*: no answer for 0.2 s") as e:
        reader.check()
    asked.set()
    assert e.value.code == 75
    assert tfio._LOG_IN_SECS == 10.0
