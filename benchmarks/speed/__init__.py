"""Speed: where the time goes, beside what the machine can do and what peers do. `python -m benchmarks.speed`."""
