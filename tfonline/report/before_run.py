"""What is found out and said before a run: what has changed, whether there is room, what a dry run would do.

Imports no TensorFlow.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfonline import folders
from tfonline.capacity import check_room, needs
from tfonline.cluster.members import Cluster
from tfonline.flags import wrong
from tfonline.keep.contract import ONLY_A_NEW_MODEL
from tfonline.model.sizes import Sizes
from tfonline.report.console import Console
from tfonline.settings.keeping import KeepingSettings, ServingSettings
from tfonline.settings.learning import LearningSettings

if TYPE_CHECKING:
    from tfonline.config import Config
    from tfonline.features.schema import Schema


def say_what_changed(path: pathlib.Path, flags: Mapping[str, Any], console: Console) -> None:
    """Flags that differ from the last run's. What the weights depend on has been checked; the rest may change."""
    try:
        before = json.loads(path.read_text())
    except (OSError, ValueError):
        return
    now = json.loads(json.dumps(flags))
    now = {name: value for name, value in now.items() if name not in ("workers", "worker_index")}  # addresses are new each time
    changed = [
        f"--{name}: {before[name]!r} -> {now[name]!r}" + (" (only a new model sees it)" if name in ONLY_A_NEW_MODEL else "")
        for name in now
        if name in before and before[name] != now[name]
    ]
    if changed:
        console.say("changed since the last run: " + ", ".join(changed), "changed")


def check_metrics_by(schema: "Schema", name: str) -> None:
    """Raises UserError where --metrics_by names no column of kind category (exit 64)."""
    known = schema.of_kind("category")
    if name and name not in known:
        raise wrong(f"--metrics_by={name} is no column of kind category. Expected is one of {', '.join(known) or 'none'}.")


def check_labels(schema: "Schema", config: "Config") -> None:
    """Raises UserError where flags do not go with the number of labels (exit 64)."""
    labels, weights = schema.labels, config.optimizers.weight_of_label
    if unknown := [name for name in weights if name not in labels]:
        raise wrong(f"--label_weights names a label {unknown[0]}, and the columns have {', '.join(labels)}.")
    if len(labels) == 1:
        if weights:
            raise wrong(f"--label_weights={config.optimizers.label_weights} is for several labels. Leave it out.")
        return
    unfit = {
        "label_topic": config.labels.label_topic,
        "keep_negatives": config.features.keep_negatives if config.features.keep_negatives < 1 else 0,
        "average_rows": config.model.average_rows,
        "cluster": config.workers.cluster if config.workers.cluster != "none" else "",
    }
    for name, value in unfit.items():
        if value:
            raise wrong(
                f"--{name}={value} goes with one label, and --columns has {len(labels)}: {', '.join(labels)}. Leave it out."
            )


def check_machine(keeping: KeepingSettings, serving: ServingSettings, sizes: Sizes, strategy: Any, cluster: Cluster | None) -> str:
    """Finds out whether the run has room and a folder to publish in; returns a line of what it needs and what is free.

    Raises:
      UserError: memory is too small (exit 64), a disk is, or the folder cannot be made (73).
    """
    chief = not cluster or cluster.chief
    if chief and serving.export_dir:
        folders.check(serving.export_dir, "--export_dir")
    replicas = strategy.num_replicas_in_sync // (len(cluster.workers) if cluster else 1)
    on_gpu = "GPU" in strategy.extended.worker_devices[0]
    needed = needs(keeping, serving, sizes, replicas, on_gpu, chief)
    return "needs: " + check_room(keeping, serving, needed, sizes, replicas)


def say_what_a_run_would_do(
    learning: LearningSettings, embedding_dim: int, console: Console, source: Any, position: Any, features: Any, about: list[str]
) -> None:
    """What --dry_run prints: where the stream stands, what a batch looks like, and what else has been found out, a line each."""
    begins, ends = source.begins(), source.ends()
    rows = [
        f"{p:>9}  {b:>14,}  {e:>14,}  {n:>14,}  {max(0, e - n):>14,}"
        for p, (b, e, n) in enumerate(zip(begins, ends, position.next, strict=False))
    ]
    lag = sum(max(0, e - n) for e, n in zip(ends, position.next, strict=False))
    b, f = learning.batch_size, features.spec.width("ids")
    console.say(
        "dry run: nothing is trained, nothing stays written. A run would "
        f"{'resume' if position.window or position.step else 'start'} at window {position.window}, step {position.step}.\n"
        f"stream {source.name}\n"
        f"partition  {'low watermark':>14}  {'end':>14}  {'next':>14}  {'lag':>14}\n" + "\n".join(rows) + "\n"
        f"lag {lag:,} rows\n"
        f"batch: label float32 [{b}], ids int32 [{b}, {f}], values float32 [{b}, {f}], "
        f"numeric float32 [{b}, {features.spec.width('numeric')}], weight float32 [{b}], over "
        f"{learning.num_replicas} replica(s)\n"
        f"tables: {features.spec.num_ids:,} ids, of which the features use {features.num_ids:,}; embedding {embedding_dim}\n"
        + "\n".join(about),
        "dry_run",
    )
