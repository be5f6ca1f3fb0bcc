"""tools/produce.py: what was produced is what a plain consumer reads."""

import gzip
import json
import re
import signal
import subprocess
import sys

import produce as produce_tool
import produce_rows
import pytest
from kafka_helpers import ROOT, make_topic, read_all, read_messages, run_tool
from process_data_helpers import SMALL_YAML

from tfonline.features.schema import load_schema
from tfonline.formats import FORMATS

ARROW = FORMATS["arrow"]


@pytest.fixture
def send(broker, topic):
    """Produces to a new topic of two partitions; returns the exit status, stdout and what the topic holds."""

    def run(*args, stdin=b"", partitions=2):
        name = topic([[]] * partitions)
        at = (f"--bootstrap_servers={broker.bootstrap}", f"--topic={name}")
        code, out, err = run_tool("produce", *at, *args, stdin=stdin)
        assert "Traceback" not in err
        return code, out, read_all(broker.bootstrap, name)

    return run


def numbered(first, end):
    return [b"row %d" % i for i in range(first, end)]


def write(path, lines):
    with (gzip.open if path.suffix == ".gz" else open)(path, "wb") as file:
        file.write(b"".join(line + b"\n" for line in lines))
    return path


def test_files_one_after_the_other_rows_in_turn(send, tmp_path):
    one = write(tmp_path / "one.tsv", numbered(0, 5001))
    two = write(tmp_path / "two.tsv.gz", numbered(5001, 9000))
    code, out, rows = send(one, two)
    assert code == 0
    assert re.fullmatch(r"produced: rows=9000 partitions=2 rows_per_sec=\d+ undelivered=0\n", out)
    assert rows == {0: numbered(0, 9000)[0::2], 1: numbered(0, 9000)[1::2]}


def test_a_file_a_partition(send, tmp_path):
    one = write(tmp_path / "one", numbered(0, 3000))
    two = write(tmp_path / "two", numbered(7000, 7010))
    by_name = send("--file1", one, "--file2", two)
    assert by_name[0] == 0
    assert by_name[2] == {0: numbered(0, 3000), 1: numbered(7000, 7010)}
    by_layout = send("--layout=file_per_partition", one, two)
    assert by_layout[2] == by_name[2]


def test_files_a_partition_are_read_side_by_side(tmp_path):
    line = b"x" * 99_999
    files = produce_rows.Files([str(write(tmp_path / name, [line] * 6)) for name in ("one", "two")])
    turns = [rows.partition for rows in files.side_by_side() if rows.lines]
    assert turns[:4] == [0, 1, 0, 1]


def test_more_files_than_partitions(send, tmp_path):
    one = write(tmp_path / "one", [b"a"])
    code, _, rows = send("--layout=file_per_partition", one, one, one)
    assert (code, rows) == (64, {0: [], 1: []})


def test_stdin_with_carriage_returns_empty_lines_and_no_end(send):
    code, out, rows = send("-", stdin=b"a\tb\r\n\n\r\nc \xff\nlast", partitions=1)
    assert code == 0
    assert rows == {0: [b"a\tb", b"c \xff", b"last"]}
    assert out.splitlines()[0] == "input: carriage_returns_cut=2 empty_lines_left_out=2"


def test_json_as_the_program_before_sent_it(broker, topic, tmp_path):
    name = topic([[]])
    row = b"\t".join([b"1", b"", b"-3"] + [b"x"] * 37)
    at = (f"--bootstrap_servers={broker.bootstrap}", f"--topic={name}")
    code, _, _ = run_tool("produce", *at, "--format=json", "-", stdin=row + b"\n")
    (message,) = read_messages(broker.bootstrap, name)[0]
    assert code == 0
    assert json.loads(message.value()) == ["1", "", "-3"] + ["x"] * 37
    names = ["label"] + [f"I{i}" for i in range(1, 14)] + [f"C{j}" for j in range(1, 27)]
    assert json.loads(message.key()) == names


def test_rows_that_json_cannot_carry_are_left_out_and_the_first_is_named(broker, topic, tmp_path):
    name = topic([[]])
    at = (f"--bootstrap_servers={broker.bootstrap}", f"--topic={name}", "--format=json")
    one = write(tmp_path / "one.tsv", ["1\tgrün".encode(), b"", b"0\ta", b"1\tb,c", b"0\td", b"1\t\xff"])
    code, out, err = run_tool("produce", *at, one)
    assert code == 65
    assert read_all(broker.bootstrap, name)[0] == ['["1", "grün"]'.encode(), b'["0", "a"]', b'["0", "d"]']
    assert err == (
        f"produce: left out {one}, line 4: field 2, 'b,c', holds a comma, which the trainer does not read in a json message. "
        "Mend it, or use --format=tsv, which takes all text but tabs and line ends. More such rows are only counted.\n"
    )
    assert "input: rows_left_out=2\nproduced: rows=3 " in out
    # A row beyond --limit is none of this run's.
    assert run_tool("produce", *at, "--limit=2", one)[0] == 0


def test_limit_and_loop(send, tmp_path):
    file = write(tmp_path / "rows", [b"a", b"b", b"c"])
    code, _, rows = send("--loop", "--limit=8", file)
    assert (code, rows) == (0, {0: [b"a", b"c", b"b", b"a"], 1: [b"b", b"a", b"c", b"b"]})
    assert send("--limit=2", file)[2] == {0: [b"a"], 1: [b"b"]}


@pytest.mark.parametrize(("loop", "number", "status"), [(True, signal.SIGINT, 0), (False, signal.SIGTERM, 130)])
def test_an_interrupt_keeps_what_was_queued(broker, topic, tmp_path, loop, number, status):
    name = topic([[]])
    rows = write(tmp_path / "rows", numbered(0, 3)) if loop else "-"
    command = [sys.executable, str(ROOT / "tools" / "produce.py"), str(rows), *["--loop"] * loop]
    at = [f"--bootstrap_servers={broker.bootstrap}", f"--topic={name}", "--rows_per_sec=200"]
    with subprocess.Popen(command + at, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        run.stdin.write("row 0\nrow 1\nrow 2\n")
        run.stdin.flush()
        while len(read_all(broker.bootstrap, name)[0]) < 3:  # bounded by the consumer's own time-out and the job's
            assert run.poll() is None
        run.send_signal(number)
        out = run.stdout.read()
        assert run.wait(30) == status
    rows = read_all(broker.bootstrap, name)[0]
    assert rows == (numbered(0, 3) * len(rows))[: len(rows)]
    assert f"produced: rows={len(rows)} partitions=1" in out
    assert "undelivered=0" in out


def test_a_row_too_large_for_the_broker_is_counted(send):
    code, out, rows = send("-", stdin=b"a\n" + b"x" * 2_000_000 + b"\nb\n", partitions=1)
    assert (code, rows) == (1, {0: [b"a", b"b"]})
    assert out.startswith("produced: rows=2 ")
    assert out.endswith("undelivered=1\n")


def test_a_torn_gzip_file(send, tmp_path):
    file = tmp_path / "torn.gz"
    file.write_bytes(gzip.compress(b"".join(b"%d\n" % (i * i) for i in range(100_000)))[:-5000])
    code, out, rows = send(file, partitions=1)
    assert code == 65
    assert out == f"produced: rows={len(rows[0])} partitions=1 rows_per_sec={out.split('rows_per_sec=')[1]}"
    assert rows[0][:3] == [b"0", b"1", b"4"]


@pytest.mark.parametrize(
    ("name", "data", "code", "message"),
    [
        ("plain.gz", b"a\n", 65, "plain.gz is no whole gzip file: it does not begin as one."),
        ("empty.gz", b"", 65, "empty.gz is no whole gzip file: it does not begin as one."),
        ("corrupt.gz", b"\x1f\x8b\x08\x00" + b"\xff" * 50, 65, "corrupt.gz is no whole gzip file: "),
        ("cut.gz", gzip.compress(b"a\n" * 99, mtime=0)[:-9], 65, "The rows before were sent."),
        ("folder", None, 66, "folder cannot be read (Is a directory)"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(broker, topic, tmp_path, name, data, code, message):
    path = tmp_path / name
    path.mkdir() if data is None else path.write_bytes(data)
    got, _, err = run_tool("produce", f"--bootstrap_servers={broker.bootstrap}", f"--topic={topic([[]])}", path)
    assert got == code
    assert message in err
    assert "Traceback" not in err


def test_made_rows_and_their_best_score(send):
    code, out, rows = send("--synthetic=3000", "--seed=5")
    score = re.match(r"synthetic: bayes_auc=(0\.\d{4}) bayes_log_loss=(0\.\d{4}) base_rate=(0\.\d{4})\nproduced: rows=3000 ", out)
    assert code == 0
    assert 0.75 < float(score[1]) < 0.83
    assert len(rows[0]) == len(rows[1]) == 1500
    positives = sum(row.startswith(b"1\t") for row in rows[0] + rows[1]) / 3000
    assert abs(positives - float(score[3])) < 0.03  # 3 rows in 100: 4 standard errors


def test_pace():
    clock = iter([0.0, 0.0, 0.5, 10.0, 10.0]).__next__
    pace = produce_tool.Pace(100, clock)
    assert pace.after(100) == 1.0  # the first 100 rows are due after a second
    assert pace.after(100) == 1.5  # the next after two, half a second of which has passed
    assert pace.after(100) == 0.0  # a stall: a second of it is made up for, no more
    assert pace.after(100) == 1.0


def test_a_missing_topic(broker):
    code, out, err = run_tool("produce", f"--bootstrap_servers={broker.bootstrap}", "--topic=nowhere", "-")
    assert (code, out) == (66, "")
    assert "has no topic 'nowhere'" in err
    assert "tools/topic.py create --topic=nowhere" in err


def test_nobody_at_the_address():
    code, out, err = run_tool("produce", "--bootstrap_servers=localhost:1", "--synthetic=10")
    assert (code, out) == (69, "")
    assert "no Kafka broker answers at localhost:1" in err
    assert "Connection refused" in err


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ([], 64, "expected one of"),
        (["a", "--synthetic=3"], 64, "expected one of"),
        (["--file2=b"], 64, "--file2 without --file1"),
        (["-", "--loop"], 64, "stdin (-) can be read once"),
        (["--synthetic=0"], 64, "'0' given"),
        (["--layout=file_per_partition", "--synthetic=3"], 64, "needs files"),
        (["/nowhere/rows.tsv"], 66, "/nowhere/rows.tsv cannot be read (No such file or directory)"),
        (["-", "--format=json", "--columns=/nowhere"], 66, "--columns=/nowhere cannot be read"),
    ],
)
def test_wrong_input(args, code, message):
    got, out, err = run_tool("produce", *args)
    assert (got, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


def test_many_rows_go_into_a_message_where_the_format_has_room(send, tmp_path):
    columns = tmp_path / "columns.yaml"
    columns.write_text(SMALL_YAML)
    rows = [f"{i % 2}\t{i}\t\ta\tb".encode() for i in range(25)]
    rows[7] = b"1\t2"  # not a row: it is left out, and said
    file = write(tmp_path / "rows.tsv", rows)
    code, out, sent = send("--format=arrow", f"--columns={columns}", "--rows_a_message=10", file)
    assert code == 65
    assert re.search(r"rows_left_out=1\nproduced: rows=24 partitions=2 rows_per_sec=\d+ undelivered=0", out)
    messages = [ARROW.canonical_rows([m], load_schema(str(columns)).columns)[1] for m in (*sent[0], *sent[1])]
    assert [len(rows) for rows in messages] == [9, 5, 10]
    assert messages[0] + messages[2] + messages[1] == rows[:7] + rows[8:]


def test_rows_without_labels_and_their_outcomes_go_to_two_topics(broker, tmp_path):
    rows, outcomes = make_topic(broker.bootstrap, [[], []]), make_topic(broker.bootstrap, [[]])
    (tmp_path / "rows.tsv").write_bytes(b"1\ta\tb\n0\tc\td\ntrue\te\tf\nx\tg\n")
    options = [f"--topic={rows}", f"--label_topic={outcomes}", "--label_delay_secs=0.05", f"--bootstrap_servers={broker.bootstrap}"]
    code, out, err = run_tool("produce", tmp_path / "rows.tsv", *options)
    assert (code, err) == (0, "")
    assert f"outcomes: sent=2 topic={outcomes}" in out.splitlines()
    sent = [m for messages in read_messages(broker.bootstrap, rows).values() for m in messages]
    assert sorted(m.value() for m in sent) == [b"a\tb", b"c\td", b"e\tf", b"g"]
    keys = {m.value(): m.key() for m in sent}
    assert len(set(keys.values())) == 4
    (found,) = read_messages(broker.bootstrap, outcomes).values()
    assert {m.key() for m in found} == {keys[b"a\tb"], keys[b"e\tf"]}
    assert {m.value() for m in found} == {b""}


def test_an_outcome_topic_that_is_missing_or_the_rows_own_is_refused(broker):
    rows = make_topic(broker.bootstrap, [[]])
    where = [f"--topic={rows}", f"--bootstrap_servers={broker.bootstrap}", "--synthetic=10"]
    code, _, err = run_tool("produce", *where, "--label_topic=not-there")
    assert code == 66, err
    assert "not-there" in err
    assert run_tool("produce", *where, f"--label_topic={rows}")[0] == 64
    assert run_tool("produce", *where, "--label_topic=x", "--format=json")[0] == 64
