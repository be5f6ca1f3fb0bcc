"""The settings of the local broker, written into its data folder at each start."""

import pathlib

import broker_security
from broker_security import Secured

# One node, so every replication factor is 1. Topics are made on purpose only: a typing error must not make one. Rows stay for good:
# Kafka reckons their age from their own timestamps, and keeps a week, so rows of last year would be gone within five minutes. After
# SIGKILL the controller waits for the old process's session to end before it lets the new one in: 4 s instead of 9.
_SERVER = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@localhost:{controller_port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENTS:{protocol}
listeners={listeners},CONTROLLER://localhost:{controller_port}
advertised.listeners={listeners}
log.dirs={log_dir}
log.retention.ms=-1
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=4000
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""

# Maven's jars and Kafka 4 log through log4j 2, an unpacked Kafka 3 through log4j 1. Without a file either is silent.
_LOGGING = {
    "log4j2.properties": """\
rootLogger.level=INFO
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %m (%c{1})%n
""",
    "log4j.properties": """\
log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %m (%c{1})%n
""",
}


def write(data: pathlib.Path, ports: dict[str, int], secured: Secured | None) -> pathlib.Path:
    """Writes server.properties and the logging's files.

    Args:
      data: the data folder.
      ports: `port` of clients, `controller_port` and `internal_port`; the last is used with `secured` only.
      secured: how clients get in; None: as they like.

    Returns:
      The file of the server's properties.
    """
    listeners = "PLAINTEXT://localhost:{port}"
    if secured:
        listeners = "CLIENTS://localhost:{port},PLAINTEXT://localhost:{internal_port}"
    text = _SERVER.format(
        listeners=listeners.format(**ports),
        protocol=broker_security.protocol(secured.mode if secured else "none"),
        controller_port=ports["controller_port"],
        log_dir=data / "log",
    )
    file = data / "server.properties"
    file.touch(mode=0o600)  # a password may be in it
    file.write_text(text + (broker_security.properties(secured) if secured else ""))
    for name, lines in _LOGGING.items():
        (data / name).write_text(lines)
    return file
