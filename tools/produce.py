"""Sends rows to a Kafka topic: files, stdin, or made rows with a known signal.

    python tools/produce.py day_0.tsv.gz day_1.tsv.gz              # one after the other, spread over the partitions
    python tools/produce.py --file1=day_0 --file2=day_1            # side by side, a file a partition
    tail -F clicks.tsv | python tools/produce.py -
    python tools/produce.py --synthetic=1000000 --rows_per_sec=5000
    python tools/produce.py --synthetic=100000 --rows_per_sec=1000 --topic=impressions --label_topic=clicks

Files are TSV unless they are Parquet, or their names end in .csv or .jsonl (and then .gz): of those --columns says which columns
make a row. Lines that have the messages' --format are sent as they are, less a carriage return at the end; empty lines are left
out. Whether a line is a good row is the trainer's to judge. With another --format, a row that its messages cannot carry to the
trainer is left out (with json, one with a comma, quote, backslash or control character in a value), it is said which, and the exit
code is 65. Where the YAML of columns says framing: confluent, the schema is registered under the subject TOPIC-value, and each
message begins with its id. With --label_topic, lines of TSV are sent without their first field, the label, under keys; the key of
each one that is positive is sent to that topic, with an empty message, some time later. The last line on stdout says what the
broker has acknowledged.
"""

import argparse
import contextlib
import functools
import pathlib
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

from command_line import Parser, at_least, run
from kafka_cli import Connection, add_connection_options, connection
from produce_messages import Message, Messages, messages_of
from produce_outcomes import Outcomes, Unlabelled
from produce_rows import Files, Rows, Synthetic, bursts

from tfonline.features.schema import load_schema
from tfonline.formats import FORMATS
from tfonline.lifecycle import Exit, UserError

_COLUMNS = str(pathlib.Path(__file__).resolve().parent.parent / "configs" / "criteo.yaml")
# After Ctrl-C: how long the rows already queued may still take.
_FAREWELL_SECS = 10.0

_PRODUCER = {
    "enable.idempotence": True,
    "linger.ms": 50,
    "batch.num.messages": 10000,
    "queue.buffering.max.messages": 200000,
    "queue.buffering.max.kbytes": 128 * 1024,
    "message.timeout.ms": 60000,
    # A callback for each delivered row would halve the speed; the binding drops those without calling Python.
    "delivery.report.only.error": True,
}


class Interrupt:
    """Ctrl-C and SIGTERM. Cuts short a wait for input; elsewhere it is only noted, so that every row stays counted."""

    def __init__(self) -> None:
        self.num_asked = 0
        self._waiting = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """A stretch in which the signal raises KeyboardInterrupt."""
        self._waiting = True
        try:
            if self.num_asked:
                raise KeyboardInterrupt
            yield
        finally:
            self._waiting = False

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        self.num_asked += 1
        if self._waiting:
            raise KeyboardInterrupt


class Sender:
    """Queues rows for the broker and counts what becomes of them.

    Attributes:
      num_queued: rows handed to the producer.
      num_lost: rows that the broker never acknowledged, and rows that it would not take.
      num_refused: rows that have no message in this format, and were left out.
    """

    def __init__(self, link: Connection, topic: str, messages: Messages, interrupt: Interrupt, label_topic: str = ""):
        """Raises UserError: a topic is missing (exit 66), no broker answers (exit 69), a property is wrong (exit 64)."""
        self._topic = topic
        self._messages = messages
        self._interrupt = interrupt
        self._link = link
        self.num_queued = self._num_messages = 0
        self.num_lost = 0
        self.num_refused = 0
        self._warned = False
        self._producer = link.producer({**_PRODUCER, "on_delivery": self._lost, "error_cb": self._problem})
        self.num_partitions = len(link.topic(self._producer, topic).partitions)
        if label_topic:
            link.topic(self._producer, label_topic)

    def send(self, rows: Rows) -> None:
        """Queues rows in order; waits while the queue is full. Stops between two rows once interrupted.

        Raises:
          UserError: the producer can send no more (exit 69).
        """
        for message in self._messages.of_rows(rows, self._refuse):
            target = self._num_messages % self.num_partitions if rows.partition is None else rows.partition
            if not self._produce(message, target):
                return
            self._num_messages += 1
            self.num_queued += message.num_rows
        self._producer.poll(0)

    def _produce(self, message: Message, target: int) -> bool:
        """Queues a message; False where that was interrupted."""
        from confluent_kafka import KafkaException

        told = {"on_delivery": functools.partial(self._lost, num_rows=message.num_rows)} if message.num_rows > 1 else {}
        while True:
            try:
                self._producer.produce(self._topic, message.value, message.key, target, **told)
                return True
            except BufferError:
                self._producer.poll(0.1)
                if self._interrupt.num_asked:
                    return False
            except KafkaException as e:
                if e.args[0].fatal():
                    raise UserError(f"the producer had to give up: {e.args[0].str()}. Run it again.", Exit.UNAVAILABLE) from e
                self._lost(e.args[0], None, message.num_rows)
                return True

    def send_outcome(self, topic: str, key: bytes) -> None:
        """Queues the outcome of a row; of one that is lost it is told as of a row."""
        while True:
            try:
                self._producer.produce(topic, b"", key)
                return
            except BufferError:
                self._producer.poll(0.1)

    def finish(self) -> None:
        """Waits until every queued row is acknowledged or lost; after Ctrl-C for 10 s at most, after another not at all."""
        deadline = None
        while self._producer.flush(0.5):
            if self._interrupt.num_asked:
                deadline = deadline or time.monotonic() + _FAREWELL_SECS
                if self._interrupt.num_asked > 1 or time.monotonic() > deadline:
                    self.num_lost += len(self._producer)
                    return

    def _refuse(self, why: str) -> None:
        self.num_refused += 1
        if self.num_refused == 1:
            print(
                f"produce: left out {why}. Mend it, or use --format=tsv, which takes all text but tabs and line ends. More such "
                "rows are only counted.",
                file=sys.stderr,
            )

    def _lost(self, error: Any, message: Any, num_rows: int = 1) -> None:
        if error is None:  # it was delivered
            return
        self.num_lost += num_rows
        if self.num_lost == num_rows:
            print(f"produce: the first row that {self._topic!r} did not take: {error.str()}", file=sys.stderr)

    def _problem(self, error: Any) -> None:
        self._link.note(error)
        if error.name() == "_ALL_BROKERS_DOWN" and self.num_queued and not self._warned:
            self._warned = True
            print(
                f"produce: the broker at {self._link.bootstrap} does not answer; rows wait for it, "
                f"message.timeout.ms at most ({self._link.problem or error.str()})",
                file=sys.stderr,
            )


class Pace:
    """Holds a sender to a rate (rows a second; 0: none)."""

    def __init__(self, rows_per_sec: int, now: Callable[[], float] = time.monotonic):
        self._rows_per_sec = rows_per_sec
        self._now = now
        self._due = now()

    def after(self, num_rows: int) -> float:
        """Seconds to wait now that `num_rows` more rows are out."""
        if not self._rows_per_sec:
            return 0.0
        now = self._now()
        # After a stall of the broker it goes on at its pace instead of making up for it.
        self._due = max(self._due, now - 1.0) + num_rows / self._rows_per_sec
        return max(0.0, self._due - now)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="produce.py", description="Sends rows to a Kafka topic.")
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="rows as TSV, CSV (.csv) or JSON objects (.jsonl), plain or .gz, or Parquet; -: TSV from stdin",
    )
    parser.add_argument("--file1", help="the file for partition 0, side by side with --file2")
    parser.add_argument("--file2", help="the file for partition 1")
    parser.add_argument("--synthetic", type=at_least(1), metavar="N", help="make N rows instead, with a known best score")
    parser.add_argument("--seed", type=at_least(0), default=1, help="of --synthetic (default 1)")
    parser.add_argument("--data", default="criteo", choices=("criteo", "avazu", "feed"), help="of --synthetic: whose columns "
                        "(default criteo); with another, also give --columns=configs/avazu.yaml or feed.yaml")  # fmt: skip
    parser.add_argument("--id_lifetime", type=at_least(0), default=0, metavar="ROWS", help="of --synthetic: each id is used for so "
                        "many rows, and then another has its place (default 0: for ever)")  # fmt: skip
    parser.add_argument(
        "--layout",
        choices=("round_robin", "file_per_partition"),
        help="round_robin: one file after the other, rows to the partitions in turn, so time order is kept (default); "
        "file_per_partition: file k to partition k, side by side (default with --file1)",
    )
    parser.add_argument(
        "--format",
        choices=tuple(FORMATS),
        default="",
        help="of the messages, whatever the files are (default: as --columns says, else tsv)",
    )
    many = "rows in a message, where --format has room for many, as arrow has (default 1,000)"
    parser.add_argument("--rows_a_message", type=at_least(1), default=1000, metavar="N", help=many)
    parser.add_argument("--registry_url", default="", help="of the schema registry, where the YAML says framing: confluent")
    parser.add_argument("--registry_properties_file", default="", metavar="FILE", help="key=value lines; the place for its secrets")
    parser.add_argument("--columns", default=_COLUMNS, help="of the rows, for another --format and for files that are not TSV")
    parser.add_argument("--rows_per_sec", type=at_least(0), default=0, help="0: as fast as it goes (default)")
    parser.add_argument("--limit", type=at_least(1), metavar="N", help="send N rows at most")
    parser.add_argument("--loop", action="store_true", help="begin again at the end, until Ctrl-C")
    parser.add_argument("--label_topic", default="", help="send rows without labels, and the outcomes of positive ones to this "
                        "topic, some time later (docs/late-labels.md); of TSV whose label stands first")  # fmt: skip
    parser.add_argument("--label_delay_secs", type=float, default=10.0, metavar="SECS", help="how much later, on average; "
                        "exponentially distributed (default 10)")  # fmt: skip
    parser.add_argument("--topic", default="python_test1", help="where to; it must exist (default python_test1)")
    add_connection_options(parser)
    args = parser.parse_args(argv)

    named = [file for file in (args.file1, args.file2) if file]
    if args.file2 and not args.file1:
        parser.error("--file2 without --file1: the first file goes to partition 0")
    if bool(args.files) + bool(named) + bool(args.synthetic) != 1:
        parser.error("expected one of: FILE..., --file1 with --file2, --synthetic=N")
    args.layout = args.layout or ("file_per_partition" if named else "round_robin")
    args.files = args.files or named
    if args.synthetic and args.layout != "round_robin":
        parser.error("--layout=file_per_partition needs files, --synthetic has none")
    if args.id_lifetime and (not args.synthetic or args.data != "criteo"):
        parser.error("--id_lifetime is for --synthetic rows of --data=criteo: files have their ids")
    if args.data != "criteo" and not args.synthetic:
        parser.error("--data is for --synthetic: files have their columns")
    if args.label_topic and (args.format or args.columns != _COLUMNS or args.label_topic == args.topic):
        parser.error(
            "--label_topic is another topic than --topic, and for TSV whose label stands first: leave out --format, --columns"
        )
    if args.label_delay_secs < 0:
        parser.error("--label_delay_secs: expected at least 0")
    if args.files.count("-") > (0 if args.loop else 1):
        parser.error("stdin (-) can be read once only: name it once, without --loop")
    return args


def main(argv: list[str]) -> int:
    """Sends the rows; returns the exit status.

    1 if the broker did not take all, 65 if a row has no message in this format, 130 if Ctrl-C came before the end.
    """
    args = _parse(argv)
    made = None
    if args.synthetic:
        made = Synthetic(min(args.synthetic, args.limit or args.synthetic), args.seed, args.id_lifetime, args.data)
    outcomes = Outcomes(args.label_delay_secs, args.seed)
    messages = Unlabelled(outcomes.add) if args.label_topic else messages_of(args, _COLUMNS)
    files = Files(args.files, messages.name, lambda: load_schema(args.columns).columns)
    interrupt = Interrupt()
    sender = Sender(connection(args), args.topic, messages, interrupt, args.label_topic)
    if made:
        source = made.rows
    elif args.layout == "round_robin":
        source = files.one_after_the_other
    elif len(args.files) <= sender.num_partitions:
        source = files.side_by_side
    else:
        raise UserError(
            f"{len(args.files)} files do not fit the {sender.num_partitions} partitions of {args.topic!r} one to one. Name "
            "fewer files, use --layout=round_robin, or a topic with more partitions.",
            Exit.FLAGS,
        )
    started = time.monotonic()
    try:
        _send_all(sender, bursts(source, args.rows_per_sec, args.loop, args.limit, messages.together), interrupt, args, outcomes)
    except KeyboardInterrupt:
        pass
    finally:
        sender.finish()
        num_rows = sender.num_queued - sender.num_lost
        if files.num_returns or files.num_empty:
            print(f"input: carriage_returns_cut={files.num_returns} empty_lines_left_out={files.num_empty}")
        if sender.num_refused:
            print(f"input: rows_left_out={sender.num_refused}")
        if made:
            print(made.summary())
        if args.label_topic:
            print(f"outcomes: sent={outcomes.num_taken} topic={args.label_topic}")
        print(
            f"produced: rows={num_rows} partitions={sender.num_partitions} "
            f"rows_per_sec={num_rows / (time.monotonic() - started):.0f} undelivered={sender.num_lost}",
            flush=True,
        )
    if sender.num_lost:
        return 1
    if sender.num_refused:
        return Exit.DATA
    return 130 if interrupt.num_asked and not args.loop else Exit.OK


def _send_all(sender: Sender, source: Iterator[Rows], interrupt: Interrupt, args: argparse.Namespace, outcomes: Outcomes) -> None:
    from tqdm import tqdm

    pace = Pace(args.rows_per_sec)
    total = None if args.loop else args.limit or args.synthetic
    # disable=None: only on a terminal.
    with tqdm(total=total, unit=" rows", unit_scale=True, disable=None) as bar:
        while True:
            with interrupt.waiting():
                burst = next(source, None)
            if burst is None:
                break
            sender.send(burst)
            for key in outcomes.due():
                sender.send_outcome(args.label_topic, key)
            bar.update(len(burst.lines))
            with interrupt.waiting():
                time.sleep(pace.after(len(burst.lines)))
    while (secs := outcomes.secs) is not None:
        with interrupt.waiting():
            time.sleep(secs)
        for key in outcomes.due():
            sender.send_outcome(args.label_topic, key)


if __name__ == "__main__":
    run(main)
