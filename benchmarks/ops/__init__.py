"""Whether alerts come where there is a fault, and nowhere else."""

import sys

from benchmarks.commands import ROOT

sys.path.insert(0, str(ROOT / "tools"))  # broker, synthetic
