# make demo: a model learns from a real Kafka topic. make test: all tests; make check: the quick ones. All set up what they need first.
PYTHON ?= python3
KAFKA_VERSION ?= 4.3.0
# A file of Criteo rows (TSV, plain or .gz) for the demo; empty: synthetic rows.
ROWS ?=
# 1: the demo leaves its broker running, with the topic, for a trainer that stays.
KEEP ?=
# On a terminal pip shows what it fetches; in a log only what goes wrong.
PIP := .venv/bin/python -m pip install --disable-pip-version-check $(if $(MAKE_TERMOUT),,--quiet)

.PHONY: setup programs demo test check lint broker bench soak chaos quality serve-demo cluster-test security-test clean

setup:
	@$(MAKE) --no-print-directory -j2 .venv/.ready .kafka/libs-$(KAFKA_VERSION)

.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v < (3, 13) or sys.exit(f"tfonline needs Python 3.11 or 3.12, $(PYTHON) is {v[0]}.{v[1]}. Use make PYTHON=python3.11 ...")'
	@echo "setup: Python packages (2.6 GB on disk: a minute, or as long as the network takes)"
	@$(PYTHON) -m venv .venv
	@$(PIP) --no-deps -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@echo "setup: Python packages are there"
	@touch $@

.kafka/libs-$(KAFKA_VERSION): tools/kafka/pom.xml
	@echo "setup: Apache Kafka $(KAFKA_VERSION)"
	@PYTHONPATH=. $(PYTHON) tools/broker.py jars --version=$(KAFKA_VERSION)

# For process_data --engine=spark: an option, so no part of setup.
.venv/.spark: .venv/.ready requirements-spark.txt
	@echo "setup: PySpark (450 MB, about half a minute)"
	@$(PIP) --no-deps --no-build-isolation -r requirements-spark.txt
	@touch $@

demo: setup
	@.venv/bin/python tools/demo.py $(if $(ROWS),--rows=$(ROWS)) $(if $(filter-out 0,$(KEEP)),--keep)

# Two processes, each with a broker of its own: half of the time is waiting for others' processes.
test: setup .venv/.spark programs
	@.venv/bin/python -m pytest -n 2 --dist=loadfile --no-loadscope-reorder

# What tests drive and pip has not: a browser for the server's page, systemd for the unit, Open MPI for its launcher. Each is Debian's,
# where there is none and it may be installed. $(call need,<one of these on PATH>,<package>)
define need
@for name in $(1); do command -v $$name > /dev/null && exit 0; done; echo "setup: $(2), for the tests"; \
 sudo=$$([ "$$(id -u)" = 0 ] || echo "sudo -n"); \
 { $$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends $(2); } > /dev/null 2>&1 || \
 { echo "make test needs $(firstword $(1)) on PATH, and apt-get could not install it: apt install $(2), or its like"; exit 1; }
endef

programs:
	$(call need,chromium chromium-browser google-chrome,chromium)
	$(call need,systemd-analyze,systemd)
	$(call need,mpirun,openmpi-bin)

# Lint, and the tests that need neither TensorFlow nor Kafka: within a minute.
check: lint
	@.venv/bin/python -m pytest tests/pure

lint: setup
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check

broker: setup
	@.venv/bin/python tools/broker.py start --version=$(KAFKA_VERSION)

# How fast, beside what the machine can do and what peers do. Parts of it: make bench BENCH=--only=training,reading.
bench: setup .venv/.spark .venv-peers/.ready
	@.venv/bin/python -m benchmarks.speed $(BENCH)

# Half an hour of short windows: does the trainer grow?
soak: setup
	@.venv/bin/python -m benchmarks.speed.soak $(SOAK)

# Half an hour of faults, and the proof that they left no trace. The short one: make chaos CHAOS='--kills=5 --broker_faults=2'.
chaos: setup
	@.venv/bin/python -m benchmarks.chaos $(CHAOS)

# Every learner on one stream: make quality ROWS=train.tsv.gz. The peers have an environment of their own.
quality: setup .venv-peers/.ready
	@.venv/bin/python -m benchmarks.quality --rows=$(or $(ROWS),$(error make quality needs ROWS=<a file of rows in time order>)) $(QUALITY)

.venv-peers/.ready: benchmarks/requirements.txt
	@$(PYTHON) -m venv .venv-peers
	@echo "setup: the peers' packages"
	@.venv-peers/bin/python -m pip install --disable-pip-version-check $(if $(MAKE_TERMOUT),,--quiet) -r benchmarks/requirements.txt
	@touch $@

# A model is published while it learns, and served while clients ask without a pause.
serve-demo: setup
	@.venv/bin/python -m benchmarks.serving $(SERVE)

# Four workers on this machine, killed ten times, against one process.
cluster-test: setup
	@.venv/bin/python -m benchmarks.cluster $(CLUSTER)

# The trainer against brokers that want TLS, certificates and log-ins, of three versions of Kafka.
security-test: setup
	@.venv/bin/python -m benchmarks.security $(SECURITY)

# Removes all that the targets above made; a running local broker is stopped first.
clean:
	@if [ -x .venv/bin/python ]; then .venv/bin/python tools/broker.py stop; fi
	@rm -rf .venv .venv-peers .kafka runs *.egg-info .pytest_cache .ruff_cache .hypothesis
