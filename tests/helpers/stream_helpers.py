"""Rows that are good, and what a reader gives of them."""

from contracts.readers import read_windows


def raw_rows(windows, source, batch_size=100, groups=1):
    """(message, partition, offset) of all rows, in order."""
    return [(message, p, o) for _, p, o, message in read_windows(source, windows, batch_size, groups)]


def good_rows(n: int, partition: int = 0) -> list[bytes]:
    return [b"%d\t%d\t%d\tab\tx" % (i % 2, i % 11, partition) for i in range(n)]
