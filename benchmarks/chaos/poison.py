"""Rows that no model should learn from: mutations of good ones, as real producers send them."""

import random

# Each takes a good row's fields. With it stands the reason by which the trainer must refuse the row.
MUTATIONS = {
    "tombstone": (lambda fields: None, "tombstone"),
    "empty value": (lambda fields: b"", "empty"),
    "truncated": (lambda fields: b"\t".join(fields[:-7]), "fields"),
    "extra fields": (lambda fields: b"\t".join([*fields, b"x", b"y"]), "fields"),
    "two rows in one": (lambda fields: b"\t".join(fields) + b"\n" + b"\t".join(fields), "fields"),
    "label of a wrong type": (lambda fields: b"\t".join([b"yes", *fields[1:]]), "label"),
    "number of a wrong type": (lambda fields: b"\t".join([fields[0], b"1.5", *fields[2:]]), "number"),
    "number beyond 64 bits": (lambda fields: b"\t".join([fields[0], b"9" * 30, *fields[2:]]), "number"),
    "not UTF-8": (lambda fields: b"\t".join([*fields[:-1], b"\xff\xfe\x80"]), "encoding"),
    "NUL bytes": (lambda fields: b"\t".join([fields[0], b"12\0", *fields[2:]]), "number"),
    "quoted by a spreadsheet": (lambda fields: b"\t".join(b'"%s"' % f for f in fields), "label"),
    "a megabyte long": (lambda fields: b"1" * 900_000, "fields"),
}
_ONE_IN_LONG = 300  # megabytes are rare: they are about the trainer's patience, not the disk's


def poisoned(row: bytes, rng: random.Random) -> bytes | None:
    """A mutation of a good row; None is a tombstone."""
    kinds = [kind for kind in MUTATIONS if kind != "a megabyte long" or rng.randrange(_ONE_IN_LONG) == 0]
    return MUTATIONS[rng.choice(kinds)][0](row.split(b"\t"))
