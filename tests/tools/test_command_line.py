"""The trainer as people start it: what a wrong set-up answers, and with which exit code."""

import json
import re
import subprocess
import sys
import time

import pytest
from rows import make_dictionaries, make_rows


@pytest.fixture(scope="module")
def good(broker, topic, tmp_path_factory):
    """Flags of a small run that works."""
    folder = tmp_path_factory.mktemp("command_line")
    rows = make_rows(250)
    return {
        "bootstrap_servers": broker.bootstrap,
        "topic": topic([rows[:150], rows[150:]]),
        "dictionary_dir": make_dictionaries(folder / "dictionaries"),
        "model_dir": str(folder / "model"),
        "stop_at": "latest",
        "batch_size": 32,
        "embedding_dim": 2,
        "deep_layers": "4",
        "broker_timeout_secs": 2,
    }


def train(settings, **changes):
    """Runs the trainer; returns its exit code and all that it printed."""
    command = [sys.executable, "-m", "tfonline.train", *(f"--{k}={v}" for k, v in {**settings, **changes}.items())]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    return done.returncode, done.stdout


def test_help_and_a_wrong_flag_answer_in_under_a_second():
    for argument, code, text in (("--help", 0, "--batch_size"), ("--bach_size=3", 64, "Did you mean: batch_size")):
        fastest = 10.0
        for _ in range(3):
            start = time.monotonic()
            done = subprocess.run([sys.executable, "-m", "tfonline.train", argument], capture_output=True, text=True, timeout=60)
            fastest = min(fastest, time.monotonic() - start)
            assert done.returncode == code
            assert text in done.stdout + done.stderr
        assert fastest < 1


def test_a_run_trains_all_and_the_same_command_goes_on(good):
    code, output = train(good)
    assert code == 0, output
    assert "reached --stop_at" in output
    assert f"tensorboard --logdir {good['model_dir']}/tensorboard" in output
    with open(f"{good['model_dir']}/summary.json") as f:
        summary = json.load(f)
    assert (summary["rows"], summary["rejected"], summary["next"]) == (250, 0, [150, 100])
    with open(f"{good['model_dir']}/config.json") as f:
        assert json.load(f)["batch_size"] == 32
    code, output = train(good)
    assert code == 0, output
    assert "resumed from" in output
    assert "250 (0 in this run)" in output


def test_dry_run_says_what_a_run_would_do_and_writes_nothing(good, tmp_path):
    code, output = train(good, dry_run="true", model_dir=tmp_path / "none", num_replicas=2)
    assert code == 0, output
    lines = [line.split() for line in output.splitlines()]
    assert ["0", "0", "150", "0", "150"] in lines  # partition, low watermark, end, next, lag
    assert ["1", "0", "100", "0", "100"] in lines
    assert "lag 250 rows" in output
    assert "ids int32 [32, 39]" in output
    assert "of the first 100 rows all are good" in output
    assert "needs: memory" in output
    assert not (tmp_path / "none").exists()


def test_dry_run_refuses_what_a_run_would(good, topic, tmp_path):
    csv = topic([[b"1,2,3"] * 30, [b"0,2,4"] * 200])
    code, output = train(good, dry_run="true", topic=csv, model_dir=tmp_path / "none", export_dir=tmp_path / "no" / "ne")
    assert code == 65
    assert "lag 230 rows" in output
    assert "of the first 100 rows none is good. The first that is not: partition 0, offset 0, fields (more or fewer" in output
    assert "'1,2,3'. The rows look like CSV: 3 fields separated by commas" in output
    assert list(tmp_path.iterdir()) == []
    code, output = train(good, dry_run="true", model_dir=tmp_path / "none", export_dir="/proc/x")
    assert code == 73
    assert "--export_dir=/proc/x cannot be made or written (No such file or directory)" in output


def test_a_folder_that_cannot_be_made(good):
    code, output = train(good, model_dir="/proc/x")
    assert code == 73
    assert "--model_dir=/proc/x cannot be made or written (No such file or directory)" in output
    assert "Traceback" not in output


def test_a_model_that_no_machine_holds(good, tmp_path):
    code, output = train(good, model_dir=tmp_path, vocab_size=10**11)
    assert code == 64
    # 10^11 ids with an embedding of 2 and a wide weight, each with two slots, of 4 bytes; and the copy that is saved.
    assert "the run needs 7.2 TB of memory (a model with its slots takes 3.6 TB; replicas: 1;" in output


def test_dry_run_of_a_stream_without_rows_says_so(good, topic, tmp_path):
    code, output = train(good, dry_run="true", topic=topic([[], []]), model_dir=tmp_path / "none")
    assert code == 0
    assert "the stream has no row there yet" in output


def test_a_missing_topic(good):
    missing = f"{good['topic']}x"
    code, output = train(good, topic=missing)
    assert code == 66
    assert f"topic {missing} is not on {good['bootstrap_servers']}" in output
    assert re.search(rf"Topics there: .*{good['topic']}\b", output)  # of many, the most similar ones
    assert "tools/topic.py create" in output  # how to mend it


def test_a_dead_broker(good):
    code, output = train(good, bootstrap_servers="localhost:1")
    assert code == 69
    assert "the Kafka broker at localhost:1 did not answer for 2 s" in output
    assert "Check --bootstrap_servers" in output


def test_a_missing_dictionary(good, tmp_path):
    code, output = train(good, dictionary_dir=tmp_path)
    assert code == 66
    assert "all_val_max_dict.pkl" in output
    assert "tools/process_data.py" in output


def test_a_stream_of_something_else_is_told_before_anything_is_made(good, topic, produce, tmp_path):
    wrong = topic([[b"1\t2\t3"] * 200, [b"0\t2"] * 200])
    code, output = train(good, topic=wrong, model_dir=tmp_path)
    assert code == 65
    assert "of the first 100 rows none is good. The first that is not: partition 0, offset 0, fields (" in output
    assert r"'1\t2\t3'. The rows look like " in output
    assert "3 fields separated by tabs" in output
    assert "--message_format" in output
    assert sorted(file.name for file in tmp_path.iterdir()) == [".lock", "status"]
    # The same command, when its start has been mended: nothing is in its way.
    produce(wrong, make_rows(100))
    (tmp_path / "offsets.json").write_text('{"0": 200, "1": 200}')
    code, output = train(good, topic=wrong, model_dir=tmp_path, start=f"offsets:{tmp_path}/offsets.json")
    assert code == 0, output
    assert "a new model, from offsets [200, 200]" in output


def test_rows_with_the_wrong_number_of_columns(good, topic, tmp_path):
    wrong = topic([[*make_rows(10), *[b"1\t2\t3"] * 190], [b"0\t2"] * 200])
    code, output = train(good, topic=wrong, model_dir=tmp_path)
    assert code == 65
    assert "warning: of the first 100 rows 10 are good. The first that is not: partition 0, offset 10, fields (" in output
    assert "390 of the last 400 rows were refused" in output
    assert "{'fields': 390}" in output
    assert "The rows look like " in output
    assert "--max_rejected_ratio=0.1" in output
    assert len((tmp_path / "rejected.jsonl").read_text().splitlines()) == 390


def test_a_few_first_rows_that_are_none_are_a_warning(good, topic, tmp_path):
    code, output = train(good, topic=topic([[b"hello"] * 9, []]), model_dir=tmp_path)
    assert code == 0, output
    assert "warning: of the first 9 rows none is good" in output


def test_a_batch_that_does_not_divide_over_the_replicas(good):
    code, output = train(good, batch_size=1000, num_replicas=3)
    assert code == 64
    assert output == "tfonline: --batch_size=1000 does not divide over 3 replicas. Use a multiple of 3, such as 999 or 1002.\n"


def test_a_configuration_that_contradicts_the_checkpoint(good, tmp_path):
    code, output = train(good, model_dir=tmp_path)
    assert code == 0, output
    code, output = train(good, model_dir=tmp_path, embedding_dim=3, numeric="log")
    assert code == 78
    assert "embedding_dim: the checkpoint has 2, this run 3" in output
    assert "numeric: the checkpoint has 'bucket', this run 'log'" in output


@pytest.mark.usefixtures("tensorflow_io")
def test_a_kafka_property_that_the_reader_does_not_know(good, tmp_path):
    code, output = train(good, kafka_property="client.dns.lookup=use_all_dns_ips", model_dir=tmp_path)
    assert code == 64
    assert "client.dns.lookup" in output
    assert "librdkafka 1.5" in output


def test_no_secret_is_printed_or_written(good, tmp_path):
    secrets = tmp_path / "kafka.properties"
    secrets.write_text("# a broker without SASL ignores them\nsasl.username=me\nsasl.password=hunter2\n")
    model_dir = tmp_path / "model"
    code, output = train(good, kafka_properties_file=secrets, model_dir=model_dir)
    assert code == 0, output
    assert "hunter2" not in output
    written = [p for p in model_dir.rglob("*") if p.is_file()]
    assert len(written) > 5
    assert not [p for p in written if b"hunter2" in p.read_bytes()]


def test_a_model_folder_that_another_run_uses(good, tmp_path):
    command = [sys.executable, "-m", "tfonline.train"]
    settings = {**good, "model_dir": tmp_path, "stop_at": "never"}
    first = subprocess.Popen([*command, *(f"--{k}={v}" for k, v in settings.items())], stdout=subprocess.PIPE, text=True)
    try:
        assert any("saved" in line for line in first.stdout)  # reads on until the folder is in use
        code, output = train(settings)
        assert code == 75
        assert f"another run is using --model_dir={tmp_path}" in output
    finally:
        first.terminate()
        rest, _ = first.communicate(timeout=60)
    assert first.returncode == 0, rest
    assert "stopped by SIGTERM" in rest
