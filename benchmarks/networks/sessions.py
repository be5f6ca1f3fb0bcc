"""Made rows of visitors' sessions, for networks of lists and of several labels: what real rows of Criteo's have not.

A row is an impression of an item to a user, who has looked at some items before. How likely a click is hangs on how many of those
are of the candidate's group, less for each that is longer ago; how likely a conversion of a click is, on the user and the item.
"""

import pathlib

import numpy as np

COLUMNS = """
name: sessions
columns:
  - {name: click, kind: label}
  - {name: conversion, kind: label}
  - {name: user, kind: category}
  - {name: item, kind: category}
  - {name: last, kind: categories, shares: item, max_length: 8, keep: last}
  - {name: gaps, kind: categories, along: last, max_length: 8, keep: last, log2: true, hash_buckets: 4096}
"""
_USERS, _ITEMS, _GROUPS, _LONGEST = 2_000, 300, 10, 8


def write(folder: pathlib.Path, rows: int, one_label: bool) -> np.ndarray:
    """Writes rows.tsv and columns.yaml; gives the true probabilities of click and conversion, float64 [rows, 2].

    Args:
      folder: as above.
      rows: so many.
      one_label: without the second label.
    """
    r = np.random.default_rng(11)
    user, item = r.integers(0, _USERS, rows), (r.random(rows) ** 2 * _ITEMS).astype(int)
    length = r.integers(0, _LONGEST + 1, rows)
    held = np.arange(_LONGEST) < length[:, None]  # the newest stand last, and behind them nothing
    like = r.random((rows, _LONGEST)) < 0.25  # of the candidate's group
    other = (r.random((rows, _LONGEST)) ** 2 * _ITEMS).astype(int)
    last = np.where(like, (other // _GROUPS * _GROUPS + item[:, None] % _GROUPS) % _ITEMS, other)
    gap = np.sort(np.exp(r.uniform(0, 13, (rows, _LONGEST))).astype(int), axis=1)[:, ::-1]  # the last one is the newest
    recent = np.exp(-np.log1p(gap) / 5)
    same = (last % _GROUPS == item[:, None] % _GROUPS) * held * recent
    click = _sigmoid(-2.2 + 3.5 * same.sum(axis=1) + 0.5 * np.sin(item))
    of_click = _sigmoid(-1.0 + 1.2 * np.cos(user) + 0.8 * np.cos(3 * item))
    clicked = r.random(rows) < click
    bought = clicked & (r.random(rows) < of_click)
    with (folder / "rows.tsv").open("w") as file:
        for i in range(rows):
            labels = [clicked[i]] if one_label else [clicked[i], bought[i]]
            texts = ("|".join(f"{prefix}{n}" for n in of[i, : length[i]]) for prefix, of in (("i", last), ("", gap)))
            file.write("\t".join([*(str(int(y)) for y in labels), f"u{user[i]}", f"i{item[i]}", *texts]) + "\n")
    lines = COLUMNS.splitlines(keepends=True)
    (folder / "columns.yaml").write_text("".join(line for line in lines if not (one_label and "conversion" in line)))
    return np.stack([click, click * of_click], axis=1)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
