"""What a checkpoint was made for, and which flags may change when it is resumed. Imports no TensorFlow.

A flag's change can do four things to a model that has learned: nothing that it learned depends on it (free); what was learned is
converted; it would give what was learned another meaning, and is refused; or only a new model sees it.
`docs/operations.md` has the table.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfonline.features.schema import Schema
from tfonline.lifecycle import Exit, UserError
from tfonline.settings.features import FeatureSettings
from tfonline.settings.model import ModelSettings, OptimizerSettings
from tfonline.settings.vocabulary import VocabularySettings

if TYPE_CHECKING:
    from tfonline.features.dictionaries import Dictionaries

# Converted: FTRL's slots are kept in units of these (optimizers.Ftrl.rescale).
CONVERTED = ("wide_learning_rate", "wide_l1", "wide_l2", "wide_initial_accumulator")
# Refused. Each stands in the contract by itself, or by what follows from it.
REFUSED = (
    "topic", "label_topic", "input_files", "columns", "dictionary_dir", "numeric", "vocab_size", "oov_buckets", "cross_buckets",
    "cross_fields", "cross_partners", "cross_pairs", "vocabulary_rows", "admit_counters", "network", "history", "embedding_dim",
    "deep_layers", "dcn_layers", "dcn_rank", "din_units", "table_optimizers", "wide_reduction", "late_labels", "replay_rows",
)  # fmt: skip
# They make the first weights, or say where the first window begins.
ONLY_A_NEW_MODEL = ("seed", "dense_init", "init_stddev", "adagrad_initial_accumulator", "start", "new_model", "vocabulary_from")
# The contract's names that format 1 has not.
_NEW_IN_2 = ("kinds", "wide_reduction")
# What a checkpoint was made for that is older than the name.
_BEFORE = {
    "network": "wide_deep", "cross_partners": 0, "cross_pairs": [], "vocabulary_rows": 0, "admit_counters": 0, "column_options": {},
    "label_topic": "", "label_topic_id": "", "late_labels": "wait or fnw", "table_optimizers": {}, "dcn": [],
    "din_units": 0, "replay_rows": 0,
}  # fmt: skip


def make_contract(
    features: FeatureSettings,
    model: ModelSettings,
    optimizers: OptimizerSettings,
    schema: Schema,
    dictionaries: "Dictionaries",
    vocab_size: int,
    source: Any,
    vocabulary: VocabularySettings | None = None,
    outcomes: Any = None,
) -> dict[str, Any]:
    """What this run's weights are made for, as plain data.

    Args:
      features: how they are made.
      model: the network's settings.
      optimizers: theirs.
      schema: the columns.
      dictionaries: their ids.
      vocab_size: the tables' rows, without the padding.
      source: the stream, which has `name` and `topic_id`.
      vocabulary: rows for values that come with the stream; None: there are none.
      outcomes: the topic of labels, likewise; None: rows have their labels.
    """
    v = vocabulary or VocabularySettings()
    # Of these only what there is, so that the contract of a model without them stays as it was.
    of_some = {
        "cross_pairs": sorted("*".join(sorted(pair)) for pair in features.chosen_pairs),
        "table_optimizers": model.optimizer_of,
        "dcn": [model.dcn_layers, model.dcn_rank] if model.network == "dcn_v2" else [],
        "din_units": model.din_units if model.network == "din" else 0,
        "replay_rows": model.replay_rows if model.replay else 0,
    }
    return {
        "columns": list(schema.names),
        "kinds": [column.kind for column in schema.columns],
        "column_options": {column.name: column.options for column in schema.columns if column.options},
        "dictionaries": dictionaries.fingerprint()[:16],
        "numeric": features.numeric,
        "vocab_size": vocab_size,
        "oov_buckets": features.oov_buckets,
        "vocabulary_rows": v.vocabulary_rows,
        "admit_counters": v.admit_counters if v.vocabulary_rows else 0,
        "cross_buckets": features.cross_buckets,
        "cross_fields": features.cross_fields if features.cross_buckets else 0,
        "cross_partners": features.cross_partners if features.cross_buckets else 0,
        "history": model.history,
        "average": bool(model.average_rows),
        "network": model.network,
        "embedding_dim": model.embedding_dim,
        "deep_layers": list(model.layers),
        # Either learns the same from the same variables; fnc's logits mean something else, and es_dfm has variables of its own.
        "late_labels": "wait or fnw" if model.late_labels in ("wait", "fnw") else model.late_labels,
        "wide_reduction": optimizers.wide_reduction,
        "topic": source.name,
        "topic_id": source.topic_id,
        "label_topic": outcomes.name if outcomes else "",
        "label_topic_id": outcomes.topic_id if outcomes else "",
        **{name: value for name, value in of_some.items() if value},
    }


def labels_of(contract: Mapping[str, Any]) -> list[str]:
    """The labels' names, in order; [] of a contract of format 1, which does not tell the columns' kinds."""
    return [name for name, kind in zip(contract.get("columns", ()), contract.get("kinds", ()), strict=False) if kind == "label"]


def schema_of(contract: Mapping[str, Any], label: str) -> Schema:
    """The columns of a contract. A contract of format 1 does not tell their kinds: all but the label are categories then."""
    names, options = contract["columns"], contract.get("column_options", {})
    kinds = contract.get("kinds") or ["label" if name == label else "category" for name in names]
    columns = [{"name": name, "kind": kind, **options.get(name, {})} for name, kind in zip(names, kinds, strict=True)]
    return Schema.model_validate({"name": "as contracted", "columns": columns})


def check_contract(folder: str, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Compares what the checkpoint was made for with what the flags say.

    Raises:
      UserError: with each difference (exit 78).
    """
    if "cross_fields" in wanted and "cross_fields" not in saved:  # as old as the time when all columns had pairs
        few = not saved.get("cross_buckets") or len(saved["columns"]) <= wanted["cross_fields"]
        saved = {**saved, "cross_fields": wanted["cross_fields"] if few else "all"}
    saved, wanted = {**_BEFORE, **saved}, {**_BEFORE, **wanted}
    differences = [
        f"  {name}: the checkpoint has {saved.get(name)!r}, this run {wanted.get(name)!r}"
        for name in sorted({*saved, *wanted})
        if saved.get(name) != wanted.get(name)
    ]
    if differences:
        resize = ""
        if saved.get("vocabulary_rows") and wanted.get("vocabulary_rows") not in (0, saved["vocabulary_rows"]):
            rows = wanted["vocabulary_rows"]
            resize = f" (tools/resize_vocabulary.py {folder} --rows={rows} moves the model to so many rows of the vocabulary)"
        raise UserError(
            f"the model in {folder} was made for another configuration:\n"
            + "\n".join(differences)
            + f"\nUse the same as before, or a new --model_dir{resize}.",
            Exit.CONFIG,
        )


def of_format_1(
    folder: pathlib.Path, saved: Mapping[str, Any], wanted: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The contract of a checkpoint of format 1, with what it lacks.

    Such a checkpoint does not say by which rates it was learned; `config.json` of its last run does.

    Args:
      folder: the model folder.
      saved: the checkpoint's contract.
      wanted: this run's.
      settings: this run's flags.

    Raises:
      UserError: a rate was changed (exit 78): what was learned cannot be converted before the checkpoint knows its rates.
    """
    try:
        before = json.loads((folder / "config.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        before = {}
    changed = [n for n in (*CONVERTED, "wide_reduction") if before.get(n, settings[n]) != settings[n]]
    if changed:
        raise UserError(
            f"the checkpoint in {folder} was written by an older version of tfonline, which did not keep its rates, and "
            + ", ".join(f"--{n} was {before[n]} and is {settings[n]} now" for n in changed)
            + ". Resume it once with the flags as they were; from its next checkpoint on they may be changed.",
            Exit.CONFIG,
        )
    return {**{n: wanted[n] for n in _NEW_IN_2}, **saved}
