"""Whether the machine has room for a run: what it needs of memory and disk, against what is free. Imports no TensorFlow."""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterable
from typing import NamedTuple

from tfonline.lifecycle import Exit, UserError
from tfonline.model.sizes import Sizes
from tfonline.settings.keeping import KeepingSettings, ServingSettings

# The publisher's two models, between which it changes, and the one that it loads back to look at.
_MODELS_OF_PUBLISHER = 3
# Of a row, where deltas are made: a hash of what is published of it, and a mark.
_DELTA_ROW_BYTES = 9
_ASK_GPU = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]  # MiB


class Needs(NamedTuple):
    """Bytes that a process of a run needs.

    Attributes:
      memory: of the machine, beside what TensorFlow and the dictionaries have taken already.
      gpu: of the GPU that needs most; 0 where the model is on none.
      model_dir: of disk, once all checkpoints that stay are there.
      export_dir: likewise, for the published versions; 0 where nothing is published.
    """

    memory: int
    gpu: int
    model_dir: int
    export_dir: int


def needs(keeping: KeepingSettings, serving: ServingSettings, sizes: Sizes, replicas: int, on_gpu: bool, chief: bool) -> Needs:
    """What this process needs.

    Each replica has a whole copy with its slots. --background_save keeps one more in the machine's memory; publishing holds three
    models without slots, and --delta_every_secs one more and some bytes a row. On disk there are --keep_checkpoints and the one
    that is being written, and with --export_dir --keep_exports more of each, which stay as long as their versions; so many
    versions, and the one that is being written.

    Args:
      keeping: how many checkpoints stay, and how they are written.
      serving: whether versions are published, and how many stay.
      sizes: of the model.
      replicas: in this process.
      on_gpu: a GPU each; else all are in the machine's memory.
      chief: whether it keeps and publishes; in a cluster one worker does.
    """
    background = sizes.checkpoint * (chief and keeping.background_save)
    published = chief and bool(serving.export_dir)
    models = sizes.version * _MODELS_OF_PUBLISHER * published
    deltas = (sizes.version + _DELTA_ROW_BYTES * sizes.rows) * (published and bool(serving.delta_every_secs))
    kept = keeping.keep_checkpoints + 1 + serving.keep_exports * published
    return Needs(
        memory=background + deltas + (0 if on_gpu else replicas * sizes.checkpoint + models),
        gpu=sizes.checkpoint + models if on_gpu else 0,
        model_dir=chief * (kept * sizes.checkpoint + sizes.table * published),
        export_dir=(serving.keep_exports + 1) * (sizes.version + sizes.table) * published,
    )


def check_room(keeping: KeepingSettings, serving: ServingSettings, needed: Needs, sizes: Sizes, replicas: int) -> str:
    """Compares what is needed with what is free; what the folders hold already of checkpoints and versions counts as free.

    Returns:
      A line that says both.

    Raises:
      UserError: memory is too small (exit 64), or a disk (73).
    """
    of_model = f"a model with its slots takes {amount(sizes.checkpoint)}"
    smaller = (
        "Make the model smaller (--vocab_size, --vocabulary_rows, --oov_buckets, --cross_buckets, --embedding_dim, --deep_layers)"
    )
    free = free_memory()
    said = [f"memory {amount(needed.memory)} ({amount(free)} are free)"]
    if needed.memory > free:
        copies = f"; replicas: {replicas}; --background_save={str(keeping.background_save).lower()}"
        raise UserError(
            f"the run needs {amount(needed.memory)} of memory ({of_model}{copies}), and {amount(free)} are free. "
            f"{smaller}, or use a larger machine.",
            Exit.FLAGS,
        )
    if needed.gpu and (free := free_gpu_memory(replicas)) is not None:
        said.append(f"of each GPU {amount(needed.gpu)} ({amount(free)} are free)")
        if needed.gpu > free:
            raise UserError(
                f"the run needs {amount(needed.gpu)} of a GPU's memory ({of_model}), and {amount(free)} are free. "
                f"{smaller}, or use --devices=cpu.",
                Exit.FLAGS,
            )
    return ", ".join(said + _check_disks(keeping, serving, needed, sizes))


def _check_disks(keeping: KeepingSettings, serving: ServingSettings, needed: Needs, sizes: Sizes) -> list[str]:
    model_dir, export_dir = pathlib.Path(keeping.model_dir), pathlib.Path(serving.export_dir)
    folders = [(model_dir, needed.model_dir, _used([*model_dir.glob("ckpt-*"), *model_dir.glob("published/*")]))]
    if needed.export_dir:
        versions = [v for v in export_dir.glob("*") if v.name.isdecimal()]
        files = (pathlib.Path(top, name) for version in versions for top, _, names in os.walk(version) for name in names)
        folders.append((export_dir, needed.export_dir, _used(files)))
    more_of_disk: dict[int, int] = {}  # two folders may lie on one
    for folder, most, used in folders:
        disk = os.stat(_there(folder)).st_dev
        more_of_disk[disk] = more_of_disk.get(disk, 0) + max(0, most - used)
    said = []
    for folder, most, _ in folders:
        if not most:
            continue
        free, more = shutil.disk_usage(_there(folder)).free, more_of_disk[os.stat(_there(folder)).st_dev]
        said.append(f"disk {amount(most)} in {folder} ({amount(free)} are free)")
        if more > free:
            of_exports = f", --keep_exports={serving.keep_exports}" if serving.export_dir else ""
            raise UserError(
                f"the run needs {amount(more)} more of the disk that {folder} lies on, and {amount(free)} are free: a checkpoint "
                f"takes {amount(sizes.checkpoint)}, and there will be --keep_checkpoints={keeping.keep_checkpoints}, one in "
                f"writing{of_exports}. Make space, keep fewer, or make the model smaller.",
                Exit.CANNOT_WRITE,
            )
    return said


def free_memory(proc: pathlib.Path = pathlib.Path("/proc"), cgroups: pathlib.Path = pathlib.Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process may still take: of the machine, swap included, and of each control group (v2) that it is in.

    What a group has in its cache of files counts as free, as the kernel gives it back.
    """
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB$", (proc / "meminfo").read_text(), re.MULTILINE))
    free = 1024 * (int(found["MemAvailable"]) + int(found["SwapFree"]))
    try:
        own = re.search(r"^0::(.*)$", (proc / "self" / "cgroup").read_text(), re.MULTILINE)
    except FileNotFoundError:
        return free
    group = cgroups / own[1].lstrip("/") if own else cgroups
    for g in (group, *group.parents):
        if g != cgroups and cgroups not in g.parents:
            break
        try:
            limit, taken = (g / "memory.max").read_text().strip(), int((g / "memory.current").read_text())
            cache = re.search(r"^inactive_file (\d+)$", (g / "memory.stat").read_text(), re.MULTILINE)
        except OSError:  # a machine's outermost group has no limit; another may be out of sight
            continue
        if limit != "max":
            free = min(free, int(limit) - taken + int(cache[1]))
    return max(free, 0)


def free_gpu_memory(num_gpus: int) -> int | None:
    """Bytes that are free on the fullest of the first GPUs that this process may use; None where nvidia-smi does not say."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    try:
        out = subprocess.run(
            [*_ASK_GPU, *(["-i", visible] if visible else [])], capture_output=True, text=True, timeout=30, check=True
        ).stdout
        return min(int(line) for line in out.splitlines()[:num_gpus]) << 20
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def amount(num_bytes: int) -> str:
    """As people write it, in powers of 1000: 1,640,000,000 is 1.6 GB."""
    size = float(num_bytes)
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB"):
        if size < 1000 or unit == "PB":
            break
        size /= 1000
    return f"{size:,.1f} {unit}" if size < 10 and unit != "bytes" else f"{size:,.0f} {unit}"


def _there(folder: pathlib.Path) -> pathlib.Path:
    """The folder or, until it is made, the nearest one above it."""
    return next(f for f in (folder.absolute(), *folder.absolute().parents) if f.exists())


def _used(files: Iterable[pathlib.Path]) -> int:
    """Bytes of the files, each once whatever names it has."""
    sizes = {}
    for file in files:
        with contextlib.suppress(FileNotFoundError):  # a run may be at work there
            about = file.stat()
            sizes[about.st_dev, about.st_ino] = about.st_size
    return sum(sizes.values())
