"""Dictionaries: to build them from many rows, and to start with many ids."""

import json
import os
import pathlib
import subprocess
import sys
import time

_MEMORY_LIMIT = "4GB"
_COPY_BYTES = 1 << 24


def measure(context: dict) -> dict[str, float]:
    """Rows/s and peak memory of process_data on so many million synthetic rows, with the context's engines; or a start."""
    if "start_up" in context:
        return start_up(context)
    million, engines = context["million"], context.get("engines", ["duckdb"])
    rows = pathlib.Path(context["folder"]) / f"many-{million}.tsv"
    subprocess.run(
        [sys.executable, "tools/synthetic.py", "--rows=1000000", f"--output={rows}"], check=True, stdout=subprocess.DEVNULL
    )
    with rows.open("r+b") as target, rows.open("rb") as source:  # the same million again and again
        size = target.seek(0, 2)
        for _ in range(million - 1):
            source.seek(0)
            for _ in range(0, size, _COPY_BYTES):
                target.write(source.read(min(_COPY_BYTES, size - source.tell())))
    try:
        found = {}
        for engine in engines:
            output = pathlib.Path(context["folder"]) / f"many-{engine}"
            tool = [sys.executable, "tools/process_data.py", str(rows), f"--output_dir={output}", f"--memory_limit={_MEMORY_LIMIT}"]
            began = time.perf_counter()
            memory = _peak_mb([*tool, f"--engine={engine}"])
            secs = time.perf_counter() - began
            name = f"process_data, {million} million rows" + (" (Spark)" if engine == "spark" else "")
            found[f"{name}, rows/s"] = json.loads((output / "report.json").read_text())["rows_per_sec"]
            found |= {f"{name}, s": secs, f"{name}, memory at most, MB": memory}
        for name in ("all_val_max_dict.pkl", "all_val_min_dict.pkl", "cat2id_dict.pkl"):
            if len({(output.parent / f"many-{engine}" / name).read_bytes() for engine in engines}) != 1:
                raise RuntimeError(f"the engines differ in {name}")
        if million == 1:
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", _PLAIN, str(rows)], check=True)
            found["plain DuckDB script, 1 million rows, rows/s"] = 1e6 / (time.perf_counter() - began)
        return found
    finally:
        rows.unlink()


_PLAIN = """
import sys, duckdb
columns = ["label"] + [f"I{i}" for i in range(1, 14)] + [f"C{i}" for i in range(1, 27)]
con = duckdb.connect()
types = {c: "VARCHAR" if c[0] == "C" else "BIGINT" for c in columns}
con.execute(f"CREATE TABLE r AS SELECT * FROM read_csv('{sys.argv[1]}', delim='\\t', header=false, columns={types})")
for c in columns[1:14]:
    con.execute(f"SELECT min({c}), max({c}) FROM r").fetchall()
for c in columns[14:]:
    con.execute(f"SELECT {c}, count(*) FROM r GROUP BY {c} HAVING count(*) >= 7").fetchall()
"""


def _peak_mb(command: list[str]) -> float:
    """The most memory that a command and its children have held at a time, by looks of 0.1 s."""
    most = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        while process.poll() is None:
            most = max(most, _resident_bytes(process.pid))
            time.sleep(0.1)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return most / 1e6


def _resident_bytes(group: int) -> int:
    pages = 0
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        pages += int(fields[21]) if int(fields[2]) == group else 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def start_up(context: dict) -> dict[str, float]:
    """Seconds of each step of a start with so many million ids, up to a looked-up row."""
    import tensorflow as tf

    from tfonline.features.dictionaries import Dictionaries, load_dictionaries, save_dictionaries
    from tfonline.features.pipeline import Features
    from tfonline.features.schema import load_schema

    schema, million = load_schema("configs/criteo.yaml"), context["start_up"]
    folder = f"{context['folder']}/large"
    fixed = [*schema.ranged, *(f"OOV{c}" for c in schema.listed)]
    ids, categories = {key: i for i, key in enumerate(fixed)}, schema.listed
    for i in range(million * 1_000_000):
        ids[f"{categories[i % len(categories)]}_{i * 2654435761 % 2**32:08x}"] = len(fixed) + i
    save_dictionaries(folder, Dictionaries(dict.fromkeys(schema.ranged, 9), dict.fromkeys(schema.ranged, 0), ids))
    del ids
    clock = [time.perf_counter()]
    dictionaries = load_dictionaries(folder, schema)
    clock.append(time.perf_counter())
    features = Features(schema, dictionaries, "bucket")
    clock.append(time.perf_counter())
    features(tf.constant([b"\t".join([b"1", *[b""] * 39])]))
    clock.append(time.perf_counter())
    secs = {"load and check": clock[1] - clock[0], "make the table": clock[2] - clock[1], "first row": clock[3] - clock[2]}
    return {f"start with {million} million ids, {k}, s": v for k, v in secs.items()} | {
        f"start with {million} million ids, s": clock[3] - clock[0]
    }
