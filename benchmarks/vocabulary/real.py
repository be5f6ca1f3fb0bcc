"""Somebody's rows in their order: a vocabulary that grows, dictionaries, shared buckets alone, and Vowpal Wabbit."""

import argparse
import pathlib

import numpy as np

from benchmarks.quality import report
from benchmarks.quality.scores import dictionaries_of_head, labels_of, plain_rows, scores, summary
from benchmarks.vocabulary.figures import Figures
from tfonline.features.dictionaries import Dictionaries, load_dictionaries, save_dictionaries
from tfonline.features.schema import load_schema

_GROWING, _KNOWN = "growing, from an empty vocabulary", "dictionaries of the first 5 of 7 rows"
_BUCKETS, _WABBIT = "shared buckets alone", "Vowpal Wabbit, all crosses, alpha 0.005"


def measure(args: argparse.Namespace, folder: pathlib.Path, figures: Figures) -> tuple[dict[str, str], list[str]]:
    """Figures of the closing line, and a table: of the last 2/7 of the rows, each scored before it was learned from."""
    rows = plain_rows(args.rows, folder)
    labels = labels_of(rows)
    head = int(len(labels) * report.HEAD)
    without_values = _without_values(dictionaries_of_head(rows, len(labels), folder), folder / "no_values")
    criteo = "--flagfile=configs/criteo.flags"
    # name: (kind, options, whether a seed changes it)
    learners = {
        _GROWING: ("tfonline", ["--flagfile=configs/growing.flags", "--dictionary_dir="], True),
        _KNOWN: ("tfonline", [criteo], True),
        _BUCKETS: ("tfonline", [criteo, f"--dictionary_dir={without_values}"], True),
        _WABBIT: ("vw", ["--ftrl_alpha=0.005", "--crosses"], False),
    }
    runs: dict[str, list[np.ndarray]] = {}
    speed: dict[str, float] = {}
    for name, (kind, options, seeded) in learners.items():
        for seed in range(1, args.seeds + 1 if seeded else 2):
            logits, speed[name] = scores(folder, rows, name, kind, options, seed)
            runs.setdefault(name, []).append(logits)
            found = report.metrics(logits[head:], labels[head:])
            figures.note(f"{name}, seed {seed}, AUC", found["auc"])
            figures.note(f"{name}, seed {seed}, log loss", found["log_loss"])
    in_use = [summary(folder, _GROWING, seed)["vocabulary"]["rows_in_use"] for seed in range(1, args.seeds + 1)]
    figures.note("rows of the vocabulary in use at the end, most of the seeds", max(in_use))

    def mean(name: str, metric: str) -> str:
        return f"{np.mean([report.metrics(s[head:], labels[head:])[metric] for s in runs[name]]):.5f}"

    closing = {"auc": mean(_GROWING, "auc"), "log_loss": mean(_GROWING, "log_loss")}
    closing |= {"dictionary_auc": mean(_KNOWN, "auc"), "buckets_auc": mean(_BUCKETS, "auc"), "vw_auc": mean(_WABBIT, "auc")}
    return closing | {"rows": f"{max(in_use):.0f}"}, report.table(runs, speed, labels)


def _without_values(dictionaries: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """The same ranges, and no value: every value shares a bucket."""
    schema = load_schema("configs/criteo.yaml")
    save_dictionaries(str(folder), Dictionaries.without_values(schema, load_dictionaries(str(dictionaries), schema)))
    return folder
