"""Whether a model learned from every row once: by plain readers of topic, journal and checkpoint, not by the trainer's own code.

Only two things are shared with the trainer: TensorFlow reads the checkpoint, and its hash op is part of the fingerprint.
"""

import collections
import dataclasses
import json
import os
import pathlib
import re

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

_FIELDS = {"label": "[01]", "integer": "(-?[0-9]{1,18})?", "category": "[^\t\r\n]*"}
_KINDS = ["label", *["integer"] * 13, *["category"] * 26]
_PREDICTION = np.dtype([("partition", "<i4"), ("offset", "<i8"), ("label", "<f4"), ("logit", "<f4")])
Place = tuple[int, int]  # partition, offset


@dataclasses.dataclass
class Verdict:
    """What the check found.

    Attributes:
      rows: good rows before the next offsets.
      lost: good rows before the next offsets that the model did not learn from.
      duplicated: times that it learned from a row again.
      weights_equal: every tensor of the replayed model is the same to the bit.
      compared: the names of the tensors that both have.
      problems: everything that is not as promised, a sentence each.
    """

    rows: int = 0
    lost: int = 0
    duplicated: int = 0
    weights_equal: bool = True
    compared: list[str] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)


def check(
    bootstrap: str, topic: str, dead_letters: str, model_dir: pathlib.Path, replayed: pathlib.Path, tells_tombstones: bool
) -> Verdict:
    """Compares topic, dead letters, journal, checkpoint and the replayed model; not every reader tells tombstones."""
    verdict = Verdict()

    def expect(what: str, found: object, wanted: object) -> None:
        if found != wanted:
            verdict.problems.append(f"{what}: {_short(found)} found, {_short(wanted)} expected")

    tensors, position = saved(model_dir)
    windows = journal(model_dir)
    expect("the journal's tiling of the offsets", tiling(windows, len(position["next"])), "whole")
    end = windows[-1]["stop"]
    expect("the checkpoint's next offsets", position["next"], end)

    records = [{o: m for o, m in r.items() if o < n} for r, n in zip(read(bootstrap, topic), end, strict=True)]
    refused = {(p, o): reason for p, r in enumerate(records) for o, m in r.items() if (reason := reason_of(m, tells_tombstones))}
    good = [{o: m for o, m in r.items() if (p, o) not in refused} for p, r in enumerate(records)]
    scored = np.fromfile(model_dir / "predictions.bin", _PREDICTION)
    trained = collections.Counter(zip(scored["partition"].tolist(), scored["offset"].tolist(), strict=True))
    wanted = {(p, o) for p, r in enumerate(good) for o in r}
    verdict.rows = len(wanted)
    verdict.lost = max(len(wanted - trained.keys()), len(wanted) - position["rows"])
    verdict.duplicated = max(sum(trained.values()) - len(trained), position["rows"] - len(wanted))
    expect("rows trained", position["rows"], len(wanted))
    expect("rows that are not to be trained", len(trained.keys() - wanted), 0)
    expect("fingerprint of the rows trained", position["fingerprint"], fingerprint(good))

    expect("rows refused, by reason", position["rejected"], dict(collections.Counter(refused.values())))
    lines = [json.loads(line) for line in (model_dir / "rejected.jsonl").read_text().splitlines()]
    expect(
        "rejected.jsonl",
        sorted((r["partition"], r["offset"], r["reason"]) for r in lines),
        sorted((*k, v) for k, v in refused.items()),
    )
    expect(
        "dead letters",
        letters(bootstrap, dead_letters),
        {(topic, p, o): (r, records[p][o]) for (p, o), r in refused.items()},
    )

    other, other_position = saved(replayed)
    different = [n for n in sorted({*tensors, *other}) if tensors.get(n) != other.get(n)]
    verdict.weights_equal, verdict.compared = not different, sorted(tensors.keys() & other.keys())
    expect("tensors that differ from the uninterrupted run's", different, [])
    for name in sorted(position.keys() - {"stop", "stop_at"}):  # the replay ends where the journal does
        expect(f"{name} of the uninterrupted run", other_position[name], position[name])
    return verdict


def saved(folder: pathlib.Path) -> tuple[dict[str, bytes | str], dict]:
    """All tensors of the newest checkpoint as bytes, metric state among them, and its position."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(folder)))
    tensors = {n: np.asarray(reader.get_tensor(n)).tobytes() for n in reader.get_variable_to_shape_map()}
    state = json.loads(reader.get_tensor("state/.ATTRIBUTES/py_state"))
    parts = {name: part["state"] for name, part in state["parts"].items()}
    for name in ("state/.ATTRIBUTES/py_state", "position/.ATTRIBUTES/py_state", "_CHECKPOINTABLE_OBJECT_GRAPH"):
        del tensors[name]  # what they hold is compared field by field
    tensors["metrics"] = parts["metrics"]
    position = {"contract": state["contract"], **parts["position"], **parts["learner"], "files": parts["files"]}
    return tensors, position


def journal(folder: pathlib.Path) -> list[dict]:
    """The windows in order of number; a line takes the place of those before it from its number on."""
    parts = [*sorted(folder.glob("windows-*.jsonl")), folder / "windows.jsonl"]
    windows: list[dict] = []
    for line in (line for part in parts for line in part.read_text().splitlines(keepends=True) if line.endswith("\n")):
        window = json.loads(line)
        while windows and windows[-1]["number"] >= window["number"]:
            windows.pop()
        windows.append(window)
    return windows


def tiling(windows: list[dict], partitions: int) -> str:
    """`whole` where the windows cover each partition from 0 on without gap or overlap, else the first break."""
    position = [0] * partitions
    for number, window in enumerate(windows):
        start, stop = (w + [0] * (partitions - len(w)) for w in (window["start"], window["stop"]))
        if window["number"] != number or start != position or any(a > b for a, b in zip(start, stop, strict=True)):
            return f"broken at {window}, behind {position}"
        position = stop
    return "whole"


def read(bootstrap: str, topic: str) -> list[dict[int, bytes | None]]:
    """All committed records by a plain consumer: offset to value, a dict a partition."""
    return [{m.offset(): m.value() for m in messages} for messages in _messages(bootstrap, topic)]


def letters(bootstrap: str, topic: str) -> dict[tuple[str, int, int], tuple[str, bytes | None]]:
    """The dead letters, by the topic, partition and offset that they came from: (reason, message)."""
    found = {}
    for messages in _messages(bootstrap, topic):
        for m in messages:
            about = {key.removeprefix("tfonline."): value.decode() for key, value in m.headers()}
            found[about["topic"], int(about["partition"]), int(about["offset"])] = (about["reason"], m.value())
    return found


def _messages(bootstrap: str, topic: str) -> list[list]:
    settings = {"group.id": "chaos-check", "enable.partition.eof": True, "isolation.level": "read_committed"}
    consumer = Consumer({"bootstrap.servers": bootstrap, "enable.auto.commit": False, **settings})
    try:
        found: list[list] = [[] for _ in consumer.list_topics(topic, timeout=30).topics[topic].partitions]
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(len(found))])
        left = set(range(len(found)))
        while left:
            for message in consumer.consume(1000, 1.0):
                if message.error() is None:
                    found[message.partition()].append(message)
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
                else:
                    raise RuntimeError(message.error().str())
        return found
    finally:
        consumer.close()


def reason_of(message: bytes | None, tells_tombstones: bool) -> str:
    """Why a TSV row of the Criteo columns is refused; '' for a good row."""
    if message is None and tells_tombstones:
        return "tombstone"
    if not message:
        return "empty"
    try:
        text = message.decode()
    except UnicodeDecodeError:
        return "encoding"
    for name, kinds in (("fields", ["category"] * 40), ("label", ["label", *["category"] * 39]), ("number", _KINDS)):
        if not re.fullmatch("\t".join(_FIELDS[k] for k in kinds), text):
            return name
    return ""


def fingerprint(records: list[dict[int, bytes]]) -> int:
    """The sum of the row fingerprints that tfonline documents, mod 2^64, in plain Python but for the hash."""
    import tensorflow as tf

    total = 0
    for partition, rows in enumerate(records):
        hashes = tf.strings.to_hash_bucket_fast(list(rows.values()), 2**63 - 1).numpy().tolist()
        for offset, h in zip(rows, hashes, strict=True):
            x = (h ^ (offset * 0x9E3779B97F4A7C15 + partition * 0xBF58476D1CE4E5B9)) * 0xBF58476D1CE4E5B9 % 2**64
            signed = x - 2**64 if x >= 2**63 else x
            total += x ^ (signed >> 32) % 2**64
    return total % 2**64


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}... ({len(text)} characters)"
