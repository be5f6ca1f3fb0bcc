"""A real Apache Kafka with listeners that want a log-in or TLS, and what a client needs for them."""

import dataclasses
import pathlib
import socket
import subprocess

import broker as broker_tool
import broker_settings
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

PASSWORD = "right-47"

_LISTENERS = """\
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_PLAINTEXT,TLS:SSL
listeners={listeners},CONTROLLER://localhost:{controller_port},LOGIN://localhost:%(log_in)d,TLS://localhost:%(tls)d
advertised.listeners={listeners},LOGIN://localhost:%(log_in)d,TLS://localhost:%(tls)d
listener.name.login.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_me="%(password)s";
listener.name.login.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PKCS12
ssl.keystore.location=%(store)s
ssl.keystore.password=changeit
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS
"""


@dataclasses.dataclass(frozen=True)
class SecureKafka:
    """Addresses of one broker's listeners, host:port.

    Attributes:
      plain: without TLS or log-in.
      log_in: SASL without TLS, by PLAIN or SCRAM-SHA-256; the user `me` has PASSWORD.
      tls: TLS without a log-in.
      certificate: that of the broker, a file.
      stranger: another certificate, which the broker does not have.
    """

    plain: str
    log_in: str
    tls: str
    certificate: str
    stranger: str

    def log_in_by(self, mechanism: str, password: str = PASSWORD) -> dict[str, str]:
        """librdkafka properties."""
        return {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": mechanism,
            "sasl.username": "me",
            "sasl.password": password,
        }


def start(folder: pathlib.Path, monkeypatch) -> SecureKafka:
    """Starts the broker on folder/data; `broker_tool.stop` ends it."""
    certificates = [_make_certificate(folder / name) for name in ("broker", "stranger")]
    with socket.socket() as one, socket.socket() as two:
        one.bind(("localhost", 0))
        two.bind(("localhost", 0))
        log_in, tls = one.getsockname()[1], two.getsockname()[1]
    more = _LISTENERS % {"log_in": log_in, "tls": tls, "store": f"{folder}/broker.p12", "password": PASSWORD}
    monkeypatch.setattr(broker_settings, "_SERVER", broker_settings._SERVER + more)
    plain = broker_tool.start(folder / "data").bootstrap
    admin = AdminClient({"bootstrap.servers": plain})
    user = UserScramCredentialUpsertion("me", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), PASSWORD.encode())
    for done in admin.alter_user_scram_credentials([user]).values():
        done.result(30)
    return SecureKafka(plain, f"localhost:{log_in}", f"localhost:{tls}", *certificates)


def _make_certificate(path: pathlib.Path) -> str:
    """A key and certificate for localhost in path.p12; returns the certificate's file."""
    store = ["-keystore", f"{path}.p12", "-storetype", "PKCS12", "-storepass", "changeit", "-alias", "own"]
    name = ["-keyalg", "EC", "-dname", f"CN={path.name}", "-ext", "san=dns:localhost", "-validity", "10"]
    for command in (["-genkeypair", *store, *name], ["-exportcert", "-rfc", *store, "-file", f"{path}.crt"]):
        subprocess.run(["keytool", *command], check=True, capture_output=True)
    return f"{path}.crt"
