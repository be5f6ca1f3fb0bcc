#!/usr/bin/env bash
# Keras 3: `import keras` loads matplotlib and pandas where they are installed, and TensorFlow loads Keras.
#
# Expected: matplotlib is an option, for a few functions that draw. A process that draws nothing does not load it, and takes as long to
#   start wherever it runs.
# What happens: keras.src.visualization imports matplotlib.pyplot, and keras's data adapters import pandas, under `try`, as keras itself is
#   imported. Installing matplotlib, for whatever other purpose, makes each start of each program with Keras slower.
# Seen: keras 3.15.1 on TensorFlow 2.21.0 with matplotlib 3.10.9 and pandas 2.3.3, Python 3.11: both are among the loaded modules after
#   `import keras`, which takes 2.90 s of CPU with them installed and 2.53 s without (medians of five). A trainer on a machine image that
#   had both spent more than 5 s in matplotlib's import, under a profiler.
# Whom it hurts: who starts many short processes, or waits for restarted trainers and servers, on images that hold "everything"; and who
#   compares start-up times between machines.
# What to do: a virtual environment without matplotlib and pandas for what serves and trains. Look with `python -X importtime -c "import keras"`.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
"${PYTHON:-python3}" -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow-cpu==2.21.0 keras==3.15.1
cat > "$here/try.py" <<'PY'
import json
import sys
import time

began = time.process_time()
import keras

secs = time.process_time() - began
print(json.dumps({"version": keras.__version__, "secs": secs, "loaded": [m for m in ("matplotlib.pyplot", "pandas") if m in sys.modules]}))
PY
cat > "$here/compare.py" <<'PY'
import json
import statistics
import sys

without, beside = ([json.loads(line) for line in open(path)] for path in sys.argv[1:])
for name, runs in (("without", without), ("with", beside)):
    secs = statistics.median(run["secs"] for run in runs)
    print(f"keras {runs[0]['version']}, {name} matplotlib and pandas: import takes {secs:.2f} s of CPU, has loaded {runs[0]['loaded']}")
assert all(run["loaded"] == [] for run in without)
assert all(run["loaded"] == ["matplotlib.pyplot", "pandas"] for run in beside), "keras does not load them any more"
assert statistics.median(run["secs"] for run in beside) > statistics.median(run["secs"] for run in without)
print("as described")
PY
export TF_CPP_MIN_LOG_LEVEL=3 MPLBACKEND=agg
measure() { for _ in 0 1 2 3 4 5; do "$here/venv/bin/python" "$here/try.py"; done | tail -n 5 > "$1"; }
measure "$here/without"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check matplotlib==3.10.9 pandas==2.3.3
measure "$here/with"
"$here/venv/bin/python" "$here/compare.py" "$here/without" "$here/with"
