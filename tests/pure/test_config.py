"""Flags: what is read, what is refused with which words, and what is never shown."""

import json
import pathlib
import re
import subprocess
import sys

import pytest
from config_helpers import FLAG_NAMES, flags_of, read, refusal, written

from tfonline.config import Config, of_flags, parse
from tfonline.lifecycle import Exit, UserError
from tfonline.settings.stream import timestamp_ms

# What is read


def test_no_flags_are_the_documented_defaults():
    c = flags_of()
    assert read() == Config()
    assert (c.bootstrap_servers, c.topic, c.start, c.stop_at) == ("localhost:9092", "python_test1", "earliest", "never")
    assert (c.window_rows, c.window_secs, c.max_idle_secs, c.max_lag_rows, c.lag_policy) == (10_000, 5.0, 0.0, 0, "work")
    assert (c.checkpoint_every_steps, c.checkpoint_secs, c.keep_checkpoints, c.drain_secs) == (0, 60.0, 5, 20.0)
    assert (c.kafka_property, c.dry_run, c.save_predictions) == ((), False, False)


def test_each_kind_of_flag_is_read():
    c = flags_of(
        "--topic=clicks", "--window_rows=7", "--window_secs=0.5", "--dry_run", "--kafka_property=a=b", "--kafka_property=c=d"
    )
    assert (c.topic, c.window_rows, c.window_secs, c.dry_run, c.kafka_property) == ("clicks", 7, 0.5, True, ("a=b", "c=d"))
    assert not flags_of("--dry_run", "--nodry_run").dry_run
    assert not flags_of("--dry_run=false").dry_run


def test_layers_are_numbers():
    assert flags_of("--deep_layers=8").layers == (8,)
    assert flags_of("--deep_layers=256, 128,64").layers == (256, 128, 64)


def test_a_flag_file_stands_where_it_is_named_and_later_flags_win(tmp_path):
    file = written(tmp_path, "# a comment\n\n--topic=from_file\n--window_rows=7\n", "a.flags")
    c = flags_of("--topic=before", f"--flagfile={file}", "--window_rows=8")
    assert (c.topic, c.window_rows) == ("from_file", 8)


def test_a_flag_file_may_name_another(tmp_path):
    inner = written(tmp_path, "--topic=inner\n--window_rows=7\n", "inner.flags")
    outer = written(tmp_path, f"--flagfile={inner}\n--topic=outer\n", "outer.flags")
    c = flags_of(f"--flagfile={outer}")
    assert (c.topic, c.window_rows) == ("outer", 7)


def test_a_missing_flag_file_is_missing_input(tmp_path):
    message, code = refusal(f"--flagfile={tmp_path}/nowhere.flags")
    assert code == Exit.NO_INPUT
    assert f"{tmp_path}/nowhere.flags" in message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--windw_rows=8", "Unknown command line flag 'windw_rows'. Did you mean: window_rows ?"),
        ("--window_rows 8", "Unknown command line flag 'window_rows 8'."),
        ("--window_rows=many", "flag --window_rows=many: "),
        ("--dry_run=perhaps", "flag --dry_run=perhaps: "),
        ("--nodry_run=1", "--nodry_run=1 does not take an argument"),
        ("--window_rows=0", "--window_rows=0 is too small. Expected at least 1."),
        ("--numeric=zscore", "--numeric=zscore is none of minmax, log, bucket."),
        ("--stop_at=noon", "--stop_at=noon is not understood."),
        ("window_rows=8", "not understood: window_rows=.... Flags are written --name=value."),
        ("sasl.password=hunter2", "not understood: sasl.password=.... Flags are written --name=value."),
        ("--topic", "Missing value for flag --topic"),
    ],
)
def test_a_mistake_in_a_flag_file_is_told_with_its_line_and_no_other(tmp_path, line, said):
    inner = written(tmp_path, f"# rows\n\n--kafka_property=sasl.password=hunter3\n{line}\n", "inner.flags")
    outer = written(tmp_path, f"--window_rows=5\n--numeric=log\n--flagfile={inner}\n", "outer.flags")
    for named in ([f"--flagfile={outer}"], ["--flagfile", outer], ["--dry_run", f"-flagfile={outer}"]):
        message, code = refusal(*named)
        assert code == Exit.FLAGS
        assert message.startswith(f"line 4 of {inner}: {said}"), message
        assert "hunter" not in message


def test_a_mistake_on_the_command_line_has_no_line(tmp_path):
    file = written(tmp_path, "--window_rows=7\n--topic=a\n", "a.flags")
    message, _ = refusal(f"--flagfile={file}", "--window_rows=0")
    assert message == "--window_rows=0 is too small. Expected at least 1."
    message, _ = refusal("--window_rows=x", f"--flagfile={file}")
    assert message.startswith("flag --window_rows=x: ")


def test_a_flag_file_that_another_names_in_vain_is_told_with_that_line(tmp_path):
    outer = written(tmp_path, f"--topic=a\n--flagfile={tmp_path}/inner.flags\n--window_rows=7\n", "outer.flags")
    message, code = refusal(f"--flagfile={outer}")
    assert code == Exit.NO_INPUT
    assert message.startswith(f"line 2 of {outer}: the flag file {tmp_path}/inner.flags cannot be read ([Errno 2] No such file")
    written(tmp_path, b"--window_rows=8\n" * 1000 + b"--topic=\xff\n", "inner.flags")
    message, code = refusal(f"--flagfile={outer}")
    assert code == Exit.FLAGS
    assert message.startswith(f"line 2 of {outer}: the flag file {tmp_path}/inner.flags is not UTF-8 text ")


def test_a_flag_file_that_names_itself_still_has_lines(tmp_path, capfd):
    file = str(tmp_path / "a.flags")
    written(tmp_path, f"--flagfile={file}\n--windw_rows=7\n", "a.flags")
    assert refusal(f"--flagfile={file}")[0].startswith(f"line 2 of {file}: Unknown command line flag 'windw_rows'.")


@pytest.mark.parametrize("file", sorted(p.name for p in pathlib.Path("configs").glob("*.flags")))
def test_the_shipped_flag_files_are_understood(file):
    assert read(f"--flagfile=configs/{file}") != Config()


def test_mindrec_flags_are_the_replaced_systems_hyper_parameters():
    c = flags_of("--flagfile=configs/mindrec.flags")
    assert (c.batch_size, c.window_rows, c.numeric) == (100, 1000, "minmax")
    assert (c.vocab_size, c.embedding_dim, c.layers) == (200_000, 80, (1024, 512, 256, 128))
    assert (c.dense_init, c.init_stddev, c.l2) == ("normal", 0.01, 8e-5)
    assert (c.wide_learning_rate, c.wide_l1, c.wide_l2, c.wide_initial_accumulator) == (5e-2, 1e-8, 1e-8, 1.0)
    assert (c.wide_reduction, c.deep_learning_rate) == ("mean", 3.5e-4)
    assert (c.checkpoint_every_steps, c.keep_checkpoints) == (100, 5)


def test_resolved_is_plain_data_with_every_flag():
    resolved = read("--topic=clicks", "--kafka_property=client.id=x").resolved()
    assert list(resolved) == FLAG_NAMES
    assert resolved["topic"] == "clicks"
    assert json.loads(json.dumps(resolved))["kafka_property"] == ["client.id=x"]


# What is refused


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--window_row=5", "Did you mean: window_rows"),
        ("--window_rows=many", "--window_rows=many"),
        ("--window_rows=1.5", "--window_rows=1.5"),
        ("--window_secs=soon", "--window_secs=soon"),
        ("--dry_run=maybe", "--dry_run=maybe"),
        ("--window_rows", "Missing value for flag --window_rows"),
        ("clicks", "not understood: clicks. Flags are written --name=value."),
    ],
)
def test_a_flag_that_is_not_understood_is_named(flag, expected):
    message, code = refusal(flag)
    assert code == Exit.FLAGS
    assert expected in message


@pytest.mark.parametrize(
    ("flag", "least"),
    [
        ("broker_timeout_secs=0", "0.1"),
        ("window_rows=0", "1"),
        ("window_secs=0", "0.01"),
        ("window_secs=nan", "0.01"),
        ("max_idle_secs=-1", "0"),
        ("max_lag_rows=-1", "0"),
        ("max_rejected_ratio=-0.1", "0"),
        ("rejected_max_bytes=-1", "0"),
        ("vocab_size=-1", "0"),
        ("embedding_dim=0", "1"),
        ("init_stddev=-1", "0"),
        ("seed=-1", "0"),
        ("batch_size=0", "1"),
        ("wide_learning_rate=0", "1e-12"),
        ("wide_l1=-1", "0"),
        ("wide_l2=-1", "0"),
        ("wide_initial_accumulator=0", "1e-12"),
        ("deep_learning_rate=0", "1e-12"),
        ("l2=-1", "0"),
        ("num_replicas=0", "1"),
        ("checkpoint_every_steps=-1", "0"),
        ("checkpoint_secs=-1", "0"),
        ("keep_checkpoints=1", "2"),
        ("drain_secs=-1", "0"),
        ("metric_rows=0", "1"),
        ("report_secs=-1", "0"),
        ("reader_processes=-1", "0"),
        ("loss_log_every_steps=-1", "0"),
    ],
)
def test_a_number_that_is_too_small_is_refused(flag, least):
    message, code = refusal(f"--{flag}")
    assert code == Exit.FLAGS
    name, value = flag.split("=")
    assert re.fullmatch(rf"--{name}={value}(\.0)? is too small\. Expected at least {re.escape(least)}\.", message)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--message_format=xml", "--message_format=xml is none of tsv, csv, json, json_objects, avro, protobuf, arrow."),
        ("--lag_policy=drop", "--lag_policy=drop is none of work, skip."),
        ("--numeric=zscore", "--numeric=zscore is none of minmax, log, bucket."),
        ("--dense_init=zeros", "--dense_init=zeros is none of glorot, normal."),
        ("--wide_reduction=max", "--wide_reduction=max is none of sum, mean."),
        ("--devices=tpu", "--devices=tpu is none of auto, gpu, cpu."),
        (
            "--batch_size=1000 --num_replicas=3",
            "--batch_size=1000 does not divide over 3 replicas. Use a multiple of 3, such as 999 or 1002.",
        ),
        ("--batch_size=1 --num_replicas=2", "Use a multiple of 2, such as 2."),
        ("--deep_layers=", "--deep_layers= is no list of widths. Expected one such as 256,128."),
        ("--deep_layers=256,x", "--deep_layers=256,x is no list of widths"),
        ("--deep_layers=256,,128", "is no list of widths"),
        ("--deep_layers=256,0", "is no list of widths"),
        ("--deep_layers=-1", "is no list of widths"),
        ("--deep_layers=²", "--deep_layers=² is no list of widths"),
        (
            "--checkpoint_secs=0",
            "--checkpoint_every_steps=0 and --checkpoint_secs=0: nothing would ever be saved. Set one of them.",
        ),
        ("--lag_policy=skip", "--lag_policy=skip needs --max_lag_rows, the lag above which it skips."),
        ("--cluster=mpi --steps_per_call=2", "--steps_per_call=2: workers, and --partition_groups, take one step a call."),
        ("--partition_groups=2 --steps_per_call=2", "take one step a call. Leave it out."),
        ("--cluster=mpi --jit_compile", "--jit_compile is for one process: XLA cannot compile what workers exchange."),
        ("--reader_processes=65", "--reader_processes=65 is too large. Expected at most 64."),
        (
            "--reader=tfio --reader_processes=2",
            "--reader_processes=2 is for --reader=consumer, or auto, which takes that, and --reader=tfio is given. Leave one out.",
        ),
        ("--input_files=a.tsv --reader_processes=2", "--reader_processes=2 reads a topic, and --input_files is given."),
        ("--max_rejected_ratio=1.5", "--max_rejected_ratio=1.5 is no share. Expected 0 to 1."),
        (
            "--input_files=a.tsv --start=latest",
            "--input_files has neither timestamps nor groups, but --start=latest --stop_at=never. "
            "Use --start=earliest and --stop_at=latest.",
        ),
        ("--input_files=a.tsv --stop_at=timestamp:2024-05-01T00:00:00Z", "--stop_at=timestamp:2024-05-01T00:00:00Z"),
    ],
)
def test_flags_that_contradict_say_value_expectation_and_fix(flags, expected):
    message, code = refusal(*flags.split())
    assert code == Exit.FLAGS
    assert expected in message


@pytest.mark.parametrize(
    "flags",
    [
        "--batch_size=999 --num_replicas=3",
        "--checkpoint_secs=0 --checkpoint_every_steps=1",
        "--lag_policy=skip --max_lag_rows=20000",
        "--max_rejected_ratio=0",
        "--max_rejected_ratio=1",
        "--input_files=a.tsv --stop_at=latest",
        "--checkpoint_secs=0.5 --drain_secs=0 --report_secs=0 --loss_log_every_steps=0",
    ],
)
def test_values_at_the_edge_are_accepted(flags):
    assert read(*flags.split()) != Config()


# Positions and timestamps


@pytest.mark.parametrize(
    "flag",
    [
        "--start=earliest",
        "--start=latest",
        "--start=committed:my-group",
        "--start=offsets:/some/file:1.json",
        "--start=timestamp:2024-05-01T00:00:00Z",
        "--start=timestamp:2024-05-01T02:00:00.250+02:00",
        "--stop_at=never",
        "--stop_at=latest",
        "--stop_at=timestamp:2024-05-01T00:00:00-05:00",
    ],
)
def test_positions_that_are_understood(flag):
    name, value = flag[2:].split("=")
    assert getattr(flags_of(flag), name) == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Earliest",
        "earliest:",
        "never",
        "committed:",
        "offsets",
        "timestamp:",
        "timestamp:now",
        "timestamp:2024-05-01",
        "timestamp:2024-05-01T00:00:00",
        "timestamp:1714521600000",
        "offset:a.json",
    ],
)
def test_starts_that_are_not_understood(value):
    message, code = refusal(f"--start={value}")
    assert code == Exit.FLAGS
    assert message == (
        f"--start={value} is not understood. Expected one of earliest, latest, timestamp:..., committed:..., offsets:.... "
        "Timestamps are RFC 3339 with a zone, such as 2024-05-01T00:00:00Z."
    )


@pytest.mark.parametrize("value", ["earliest", "committed:g", "offsets:f", "timestamp:2024-05-01"])
def test_ends_that_are_not_understood(value):
    message, code = refusal(f"--stop_at={value}")
    assert code == Exit.FLAGS
    assert message.startswith(f"--stop_at={value} is not understood. Expected one of never, latest, timestamp:.... ")


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2024-05-01T00:00:00Z", 1_714_521_600_000),
        ("2024-05-01T02:00:00+02:00", 1_714_521_600_000),
        ("2024-04-30T19:00:00-05:00", 1_714_521_600_000),
        ("2024-05-01T00:00:00.250Z", 1_714_521_600_250),
        ("2024-05-01T00:00:00.123Z", 1_714_521_600_123),
    ],
)
def test_timestamps_become_milliseconds_since_1970(text, ms):
    assert timestamp_ms(text) == ms


# Help, and what TensorFlow's absence allows


@pytest.mark.parametrize("flag", ["--help", "-help", "-h", "--helpfull", "-?"])
def test_help_lists_every_flag_with_its_default_and_the_exit_codes(flag, capsys):
    assert parse(["train", "--topic=x", flag]) is None
    text = capsys.readouterr().out
    assert re.findall(r"^  --(\w+)$", text, re.MULTILINE) == FLAG_NAMES
    assert re.findall(r"^(\w+):$", text, re.MULTILINE) == [
        "Stream", "Windows", "Labels", "Features", "Vocabulary", "Model", "Learning", "Optimizers", "Workers", "Keeping",
        "Serving", "Reporting",
    ]  # fmt: skip
    text = " ".join(text.split())
    assert text.count("(default: ") == len(FLAG_NAMES)
    assert "A window is planned when this many rows are there, over all partitions. (default: 10000)" in text
    assert "One of glorot, normal." in text
    assert "69 unavailable, 70 not_finite, 71 step, 73 cannot_write, 75 try_again, 77 credentials, 78 config." in text
    assert "64 flags, 65 data, 66 no_input, " in text


@pytest.mark.parametrize(("flag", "code"), [("--help", 0), ("--window_rows=0", 64), ("--flagfile=/nowhere", 66)])
def test_the_trainer_answers_help_and_wrong_flags_without_tensorflow(flag, code):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tfonline.train", flag], capture_output=True, text=True, check=False
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "tfonline.config" in imported
    assert {name for name in imported if name.split(".")[0] in ("tensorflow", "tensorflow_io", "keras")} == set()
    assert done.returncode == code
    said = [line for line in done.stderr.splitlines() if line.startswith("tfonline: ")]
    assert len(said) == (1 if code else 0)


def test_a_lag_that_is_only_an_unfilled_window_is_never_skipped():
    with pytest.raises(UserError, match="--max_lag_rows=50 is below --window_rows=100") as e:
        parse(["", "--lag_policy=skip", "--max_lag_rows=50", "--window_rows=100"])
    assert e.value.code == 64


def test_a_flag_file_that_is_not_utf_8_is_refused(tmp_path):
    (tmp_path / "latin.flags").write_bytes(b"--topic=\xff\n")
    with pytest.raises(UserError, match="not UTF-8") as e:
        parse(["", f"--flagfile={tmp_path}/latin.flags"])
    assert e.value.code == 64


@pytest.mark.parametrize(
    ("flags", "rows"),
    [
        ({}, 10_000),
        ({"batch_size": 100}, 10_000),
        ({"batch_size": 65_536}, 655_360),
        ({"batch_size": 1000, "steps_per_call": 16}, 160_000),
        ({"batch_size": 65_536, "drift_rows": 10_000}, 10_000),
        ({"batch_size": 65_536, "drift_rows": 0}, 0),
    ],
)
def test_windows_of_drift_grow_with_the_rows_of_a_call_unless_they_are_said(flags, rows):
    assert of_flags(**flags).drift_rows == rows
