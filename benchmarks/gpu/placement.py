"""Where the operations of a train step run, what is copied between host and device, and which kernels take the time."""

import collections
import pathlib
import sys
import tempfile

from benchmarks.gpu.sizes import make_inputs, make_learner

_STEPS, _KERNELS = 20, 40
_NO_WORK = {"Const", "_Arg", "_Retval", "NoOp", "_HostSend", "_HostRecv", "_Send", "_Recv"}


def measure(context: dict) -> dict[str, float]:
    """Counts of operations and copies by device; all of it, by name, goes to standard error."""
    import tensorflow as tf
    from tensorflow.python.eager import context as eager

    rows = 65_536 // context["shrink"] // 4 * 4
    learner = make_learner("default", "bfloat16", jit_compile=context["jit_compile"])
    inputs = make_inputs(learner, "default", rows, 1)[0]
    single = lambda: learner.train_steps(tf.constant(1), tf.range(1), inputs)  # noqa: E731
    if context["jit_compile"]:  # one operation
        return {f"compiled: {name}": value for name, value in _kernels(single, context).items()}
    found = {}
    for steps in (1, 4):
        call = lambda n=steps: learner.train_steps(tf.constant(n), tf.range(n), inputs)  # noqa: E731
        eager.context().enable_graph_collection()
        call()
        graphs = eager.context().export_run_metadata().function_graphs
        eager.context().disable_graph_collection()
        partitions = [p for g in graphs for p in g.partition_graphs]
        for device, nodes in _by_device(partitions).items():
            work = collections.Counter(n.op for n in nodes if n.op not in _NO_WORK)
            copies = [n for n in nodes if n.op in ("_HostSend", "_Send")]
            found[f"{steps} steps a call, {device}: operations"] = float(work.total())
            found[f"{steps} steps a call, {device}: sends"] = float(len(copies))
            print(f"{steps} steps a call, {device}: {work.most_common()}", file=sys.stderr)
            for n in copies:
                print(f"  {n.op} {n.attr['tensor_name'].s.decode()} {tf.as_dtype(n.attr['T'].type).name}", file=sys.stderr)
    return found | _kernels(single, context)


def _by_device(partitions) -> dict[str, list]:
    found = collections.defaultdict(list)
    for partition in partitions:
        for node in partition.node:
            found[node.device.rpartition("device:")[2]].append(node)
    return found


def _kernels(call, context: dict) -> dict[str, float]:
    """Milliseconds a step of the GPU's kernels and copies, by TensorFlow's profiler; none where CUPTI does not answer."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2 as xplane

    with tempfile.TemporaryDirectory() as folder:
        call().losses["deep_loss"].numpy()
        tf.profiler.experimental.start(folder)
        for _ in range(_STEPS):
            last = call()
        last.losses["deep_loss"].numpy()
        tf.profiler.experimental.stop()
        space = xplane.XSpace.FromString(next(pathlib.Path(folder).rglob("*.xplane.pb")).read_bytes())
    total, counts = collections.Counter(), collections.Counter()
    for plane in space.planes:
        if not plane.name.startswith("/device:GPU"):
            continue
        for line in plane.lines:
            if line.name.startswith("Stream"):
                for event in line.events:
                    name = plane.event_metadata[event.metadata_id].name
                    total[name] += event.duration_ps / 1e9 / _STEPS
                    counts[name] += 1
    for name, ms in total.most_common(_KERNELS):
        print(f"  {ms:8.3f} ms a step, {counts[name] / _STEPS:5.1f} times: {name[:150]}", file=sys.stderr)
    return {"GPU busy, ms a step": total.total(), "kernels and copies a step": counts.total() / _STEPS}
