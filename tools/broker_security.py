"""TLS, log-ins and rights for the local broker: its certificates, its users, and the properties files by which clients connect.

`broker.py start --security=MODE` lets clients in at its port by one way only:

- `ssl`: TLS;
- `mtls`: TLS, and the client has a certificate, too;
- `sasl_ssl`: TLS, and a log-in by PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.

Everybody may do all, but where an access control list says otherwise. A second port, for this machine only and without TLS or
log-in, is the administrator's. The password is made by chance, is in no log, and stands in files that their owner alone can read.
"""

import dataclasses
import pathlib
import secrets
import shutil
import subprocess

from tfonline.lifecycle import Exit, UserError

MODES = ("none", "ssl", "mtls", "sasl_ssl")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
# SCRAM's users are kept by the controllers. Those of older versions have no place for them.
OLDEST_SCRAM = (3, 5, 0)
USER = "trainer"
_PROTOCOLS = {"ssl": "SSL", "mtls": "SSL", "sasl_ssl": "SASL_SSL"}
_VALID_DAYS = "3650"


@dataclasses.dataclass(frozen=True)
class Secured:
    """What a secured broker has beside its data.

    Attributes:
      folder: its files: `ca.pem`, `client.pem` and `client.key`, and `client.properties`, or one for each mechanism of a log-in.
      mode: one of MODES, not none.
      mechanisms: how clients log in; () where they do not.
    """

    folder: pathlib.Path
    mode: str
    mechanisms: tuple[str, ...]

    @property
    def clients(self) -> list[pathlib.Path]:
        """The properties files of clients, one for each way in: as --kafka_properties_file takes them."""
        if not self.mechanisms:
            return [self.folder / "client.properties"]
        return [self.folder / f"client-{mechanism.lower()}.properties" for mechanism in self.mechanisms]

    @property
    def password(self) -> str:
        """Of USER."""
        return (self.folder / "password").read_text()


def prepare(data: pathlib.Path, mode: str, version: tuple[int, ...]) -> Secured:
    """Makes certificates, the user's password and the clients' files; those that are there stay.

    Raises:
      UserError: openssl is not installed (exit 66).
    """
    mechanisms = tuple(m for m in MECHANISMS if m == "PLAIN" or version >= OLDEST_SCRAM) if mode == "sasl_ssl" else ()
    secured = Secured(data / "security", mode, mechanisms)
    secured.folder.mkdir(mode=0o700, exist_ok=True)
    password = secured.folder / "password"
    if not password.exists():
        # With the "=" that many generated passwords end with.
        _write_private(password, f"{secrets.token_urlsafe(24)}=")
    if not (secured.folder / "broker.p12").exists():
        _make_certificates(secured.folder)
    for file, mechanism in zip(secured.clients, mechanisms or [""], strict=True):
        _write_private(file, _client_properties(secured, mechanism))
    return secured


def properties(secured: Secured) -> str:
    """The lines of server.properties; `{port}` and `{internal_port}` are still to be filled in."""
    lines = [
        f"ssl.keystore.location={secured.folder}/broker.p12",
        "ssl.keystore.type=PKCS12",
        f"ssl.keystore.password={secured.password}",
        f"ssl.truststore.location={secured.folder}/ca.pem",
        "ssl.truststore.type=PEM",
        # No log-in and no certificate: the administrator's port, and the broker itself.
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found=true",
        "super.users=User:ANONYMOUS",
    ]
    if secured.mode == "mtls":
        lines += ["ssl.client.auth=required", "ssl.principal.mapping.rules=RULE:^CN=([^,]+).*$/$1/,DEFAULT"]
    if secured.mechanisms:
        package = "org.apache.kafka.common.security"
        plain = f'{package}.plain.PlainLoginModule required user_{USER}="{secured.password}";'
        lines += [
            f"listener.name.clients.sasl.enabled.mechanisms={','.join(secured.mechanisms)}",
            f"listener.name.clients.plain.sasl.jaas.config={plain}",
            *(
                f"listener.name.clients.{m.lower()}.sasl.jaas.config={package}.scram.ScramLoginModule required;"
                for m in secured.mechanisms
                if m.startswith("SCRAM")
            ),
        ]
    return "\n".join(lines) + "\n"


def protocol(mode: str) -> str:
    """Of the clients' listener, as Kafka names it."""
    return _PROTOCOLS.get(mode, "PLAINTEXT")


def make_users(secured: Secured, internal: str) -> None:
    """Tells the broker at its administrator's port the SCRAM users, in the way of Kafka's own kafka-configs."""
    from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

    kinds = {"SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256, "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512}
    users = [
        UserScramCredentialUpsertion(USER, ScramCredentialInfo(kinds[m], 4096), secured.password.encode())
        for m in secured.mechanisms
        if m in kinds
    ]
    admin = AdminClient({"bootstrap.servers": internal, "log_level": 0})
    for user in users:  # one a request: Kafka refuses two changes of one user in one
        for done in admin.alter_user_scram_credentials([user]).values():
            done.result(30)


def _client_properties(secured: Secured, mechanism: str) -> str:
    lines = [f"security.protocol={protocol(secured.mode)}", f"ssl.ca.location={secured.folder}/ca.pem"]
    if secured.mode == "mtls":
        lines += [f"ssl.certificate.location={secured.folder}/client.pem", f"ssl.key.location={secured.folder}/client.key"]
    if mechanism:
        lines += [f"sasl.mechanism={mechanism}", f"sasl.username={USER}", f"sasl.password={secured.password}"]
    return "\n".join(lines) + "\n"


def _make_certificates(folder: pathlib.Path) -> None:
    """An authority, and of it a certificate for the broker (localhost) and one for a client (USER)."""
    if not shutil.which("openssl"):
        raise UserError("--security needs openssl on PATH, and it is not there. Install it (apt install openssl).", Exit.NO_INPUT)
    leaf = ["-addext", "basicConstraints=critical,CA:FALSE"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", _VALID_DAYS]
    _openssl(folder, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=tfonline local authority")
    for name, subject, names in (("broker", "localhost", ["-addext", "subjectAltName=DNS:localhost"]), ("client", USER, [])):
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", f"{name}.key", "-out", f"{name}.crt"]
        _openssl(folder, "req", "-x509", *key, *signed, "-subj", f"/CN={subject}", *leaf, *names)
    (folder / "client.crt").rename(folder / "client.pem")
    # Not PEM, for which Kafka 3.2 wants the key to have a password of its own.
    store = ["-export", "-inkey", "broker.key", "-in", "broker.crt", "-out", "broker.p12", "-passout", "file:password"]
    _openssl(folder, "pkcs12", *store)


def _openssl(folder: pathlib.Path, *command: str) -> None:
    done = subprocess.run(["openssl", *command], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"openssl {command[0]} failed: {done.stderr.strip()}", Exit.UNAVAILABLE)


def _write_private(path: pathlib.Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
