# make demo: a model learns from a real Kafka topic. make test: all tests; make check: the quick ones. All set up what they need first.
KAFKA_VERSION ?= 4.3.0
# A file of Criteo rows (TSV, plain or .gz) for the demo; empty: synthetic rows.
ROWS ?=
# 1: make chaos has a peer beside tfonline.
PEER ?=
# 1: the demo leaves its broker running, with the topic, for a trainer that stays.
KEEP ?=

# The stacks: TensorFlow 2.16 with tensorflow-io, and TensorFlow 2.21. Each has an environment of its own; every target runs on the one that
# STACK names. BUILD.md says what STACK and PYTHON are where they are not said.
STACKS := tf216 tf221
VENV_tf216 := .venv
VENV_tf221 := .venv-tf221
LOCK_tf216 := requirements.lock
LOCK_tf221 := requirements-tf221.lock
TAKES := tf216=3.11 tf216=3.12 tf221=3.12 tf221=3.13

# pyenv puts names on PATH that do not run: its versions are looked for where they are.
PYENV_ROOTS := $(PYENV_ROOT) $(HOME)/.pyenv $(patsubst %/shims,%,$(filter %/shims,$(subst :, ,$(PATH))))
PYENV := $(foreach version,3.12 3.11 3.13,$(wildcard $(addsuffix /versions/$(version).*/bin/python,$(PYENV_ROOTS))))
PYTHONS := $(or $(PYTHON),python3 python3.12 python3.11 python3.13 $(PYENV))
# $(call found,STACK): the first of PYTHONS that the stack takes, or any stack where STACK is empty, as "stack python"; empty where none is.
found = $(shell for python in $(PYTHONS); do $$python -c 'import sys; v = "=%d.%d" % sys.version_info[:2]; \
 print([take[:-len(v)] for take in sys.argv[2:] if take.endswith(v)][0], sys.argv[1])' $$python $(filter $(1)%,$(TAKES)) 2> /dev/null && break; done)
made := $(foreach stack,$(STACKS),$(if $(wildcard $(VENV_$(stack))/.ready),$(stack)))
STACK := $(or $(STACK),$(if $(PYTHON),,$(firstword $(made))),$(firstword $(call found)),tf216)
ifeq ($(filter $(STACK),$(STACKS)),)
$(error STACK=$(STACK) is no stack. Use one of: $(STACKS))
endif
VENV := $(VENV_$(STACK))

# On a terminal pip shows what it fetches; in a log only what goes wrong.
PIP := $(VENV)/bin/python -m pip install --disable-pip-version-check $(if $(MAKE_TERMOUT),,--quiet)

.PHONY: setup python programs prometheus demo test stacks-test check lint broker bench soak chaos quality networks vocabulary delayed formats \
 serve-demo freshness cluster-test security-test ops-test clean

setup:
	@$(MAKE) --silent --no-print-directory -j2 STACK=$(STACK) $(VENV)/.ready .kafka/libs-$(KAFKA_VERSION)

# $(call with_python,STACK,COMMAND): runs it with $$python as a Python of the stack, or ends with what to do where there is none.
versions = $(patsubst $(1)=%,%,$(filter $(1)=%,$(TAKES)))
with_python = python="$(lastword $(call found,$(1)))"; if [ -n "$$python" ]; then $(2); else \
 echo "The stack $(1) takes Python $(subst $() , or ,$(call versions,$(1))), and none of these is one: $(or $(PYTHON),python3 python3.12 python3.11 python3.13)." \
 "Name one, such as make STACK=$(1) PYTHON=python$(lastword $(call versions,$(1))); BUILD.md says how to get it."; exit 1; fi

# Which Python the stack would take; fails where there is none.
python:
	@$(call with_python,$(STACK),echo "$(STACK) takes $$python")

$(VENV)/.ready: $(LOCK_$(STACK)) pyproject.toml
	@echo "setup: Python packages (2.6 GB on disk: a minute, or as long as the network takes)"
	@$(call with_python,$(STACK),$$python -m venv $(VENV))
	@$(PIP) --no-deps -r $(LOCK_$(STACK))
	@$(PIP) --no-deps --no-build-isolation --editable .
	@echo "setup: Python packages are there"
	@touch $@

.kafka/libs-$(KAFKA_VERSION): tools/kafka/pom.xml
	@echo "setup: Apache Kafka $(KAFKA_VERSION)"
	@PYTHONPATH=. $(lastword python3 $(call found)) tools/broker.py jars --version=$(KAFKA_VERSION)

# The schema registry of tools/registry.py, for the tests: an option, so no part of setup.
.kafka/.registry: $(VENV)/.ready tools/registry_jars.py
	@$(VENV)/bin/python tools/registry.py jars
	@touch $@

# For process_data --engine=spark: an option, so no part of setup.
$(VENV)/.spark: $(VENV)/.ready requirements-spark.txt
	@echo "setup: PySpark (450 MB, about half a minute)"
	@$(PIP) --no-deps --no-build-isolation -r requirements-spark.txt
	@touch $@

demo: setup $(if $(filter feed,$(DATA)),.kafka/.registry)
	@$(VENV)/bin/python tools/demo.py $(if $(ROWS),--rows=$(ROWS)) $(if $(filter-out 0,$(KEEP)),--keep)$(if $(DATA), --data=$(DATA))

# Two processes, each with a broker of its own: half of the time is waiting for others' processes.
test: setup $(VENV)/.spark .kafka/.registry programs
	@$(VENV)/bin/python -m pytest -n 2 --dist=loadfile --no-loadscope-reorder

# What depends on the stack most: readers, features, steps, checkpoints, export, and one kill. make test STACK=... runs all. The last file
# resumes checkpoints of either stack on the other.
STACK_TESTS := tests/pure tests/stream/test_reader_contract.py tests/stream/test_consumer_reader.py tests/features/test_pipeline.py \
 tests/features/test_arrow.py tests/features/test_many_rows.py tests/features/test_negatives.py tests/features/test_avro.py tests/features/test_protobuf.py \
 tests/features/test_lists_in_messages.py tests/features/test_categories.py \
 tests/model/test_steps.py tests/model/test_compiled.py tests/keep tests/publish/test_servable.py tests/report/test_tensorboard.py \
 tests/model/test_touched.py tests/publish/test_delta_publisher.py tests/serving/test_serving_deltas.py \
 tests/serving/test_serving_models.py tests/proofs/test_recovery.py::test_killed_again_and_again_is_as_if_never_killed \
 tests/proofs/test_stacks.py

stacks-test: prometheus
	@$(MAKE) --no-print-directory setup STACK=tf216
	@$(MAKE) --no-print-directory setup STACK=tf221
	@$(VENV)/bin/python -m pytest -n 2 --dist=loadfile --no-loadscope-reorder $(STACK_TESTS)

# What tests drive and pip has not: a browser for the server's page, systemd for the unit, Open MPI for its launcher, Prometheus for its
# rules. Each is Debian's, where there is none and it may be installed. $(call need,<one of these on PATH>,<package>)
define need
@for name in $(1); do command -v $$name > /dev/null && exit 0; done; echo "setup: $(2), for the tests"; \
 sudo=$$([ "$$(id -u)" = 0 ] || echo "sudo -n"); \
 { $$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends $(2); } > /dev/null 2>&1 || \
 { echo "make test needs $(firstword $(1)) on PATH, and apt-get could not install it: apt install $(2), or its like"; exit 1; }
endef

programs: prometheus
	$(call need,chromium chromium-browser google-chrome,chromium)
	$(call need,systemd-analyze,systemd)
	$(call need,mpirun,openmpi-bin)

# Prometheus and promtool, for the rules of deploy/prometheus. In a container Debian's package starts no service; elsewhere it may.
prometheus:
	$(call need,promtool,prometheus)

# Lint, and the tests that need neither TensorFlow nor Kafka: within a minute.
check: lint prometheus
	@$(VENV)/bin/python -m pytest tests/pure

lint: setup
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check

broker: setup
	@$(VENV)/bin/python tools/broker.py start --version=$(KAFKA_VERSION)

# How fast, beside what the machine can do and what peers do. Parts of it: make bench BENCH=--only=training,reading.
bench: setup $(VENV)/.spark .venv-peers/.ready
	@$(VENV)/bin/python -m benchmarks.speed $(BENCH)

# Half an hour of short windows: does the trainer grow?
soak: setup
	@$(VENV)/bin/python -m benchmarks.speed.soak $(SOAK)

# Half an hour of faults, and the proof that they left no trace. The short one: make chaos CHAOS='--kills=5 --broker_faults=2'.
# PEER=1: afterwards a usual training loop, under the same kills.
chaos: setup
	@$(VENV)/bin/python -m benchmarks.chaos $(if $(filter-out 0,$(PEER)),--peer) $(CHAOS)

# Every learner on one stream: make quality ROWS=train.tsv.gz. The peers have an environment of their own.
quality: setup .venv-peers/.ready
	@$(VENV)/bin/python -m benchmarks.quality --rows=$(or $(ROWS),$(error make quality needs ROWS=<a file of rows in time order>)) $(QUALITY)

# Each network by name: contract, AUC, rows/s. A part: make networks ROWS=train.tsv.gz NETWORKS=--only=wide_deep,deepfm.
networks: setup
	@$(VENV)/bin/python -m benchmarks.networks --rows=$(or $(ROWS),$(error make networks needs ROWS=<a file of rows in time order>)) $(NETWORKS)

# What ids that come with the stream give and cost: make vocabulary ROWS=train.tsv.gz. Parts of it: VOCABULARY=--only=drift,kills.
vocabulary: setup .venv-peers/.ready
	@$(VENV)/bin/python -m benchmarks.vocabulary --rows=$(or $(ROWS),$(error make vocabulary needs ROWS=<a file of rows in time order>)) $(VOCABULARY)

# What labels that come late cost, and what is won back: make delayed ROWS=train.tsv.gz. With fewer seeds: DELAYED=--seeds=1.
delayed: setup
	@$(VENV)/bin/python -m benchmarks.delayed --rows=$(or $(ROWS),$(error make delayed needs ROWS=<a file of rows in time order>)) $(DELAYED)

.venv-peers/.ready: benchmarks/requirements.txt
	@$(call with_python,tf216,$$python -m venv .venv-peers)
	@echo "setup: the peers' packages"
	@.venv-peers/bin/python -m pip install --disable-pip-version-check $(if $(MAKE_TERMOUT),,--quiet) -r benchmarks/requirements.txt
	@touch $@

# A model is published while it learns, and served while clients ask without a pause.
serve-demo: setup
	@$(VENV)/bin/python -m benchmarks.serving $(SERVE)

# From a row to the served score: how long, and whether what is served is right: half an hour. A short one: make freshness
# FRESHNESS='--secs=60 --rows_per_sec=400 --clients=2 --kills=1 --server_kills=1 --export_every_secs=20 --cross_buckets=1048576'
freshness: setup
	@$(VENV)/bin/python -m benchmarks.freshness $(FRESHNESS)

# Four workers on this machine, killed ten times, against one process.
formats: setup .kafka/.registry
	@$(VENV)/bin/python -m benchmarks.formats $(FORMATS)

cluster-test: setup
	@$(VENV)/bin/python -m benchmarks.cluster $(CLUSTER)

# The trainer against brokers that want TLS, certificates and log-ins, of three versions of Kafka.
security-test: setup
	@$(VENV)/bin/python -m benchmarks.security $(SECURITY)

# Faults, and a real Prometheus that must tell of each by the rules of deploy/prometheus: 20 minutes. A part: make ops-test OPS=--only=nothing.
ops-test: setup prometheus
	@$(VENV)/bin/python -m benchmarks.ops $(OPS)

# Removes all that the targets above made; a running local broker or schema registry is stopped first.
clean:
	@if [ -x $(VENV)/bin/python ]; then $(VENV)/bin/python tools/broker.py stop; $(VENV)/bin/python tools/registry.py stop; fi
	@rm -rf $(foreach stack,$(STACKS),$(VENV_$(stack))) .venv-peers .kafka runs *.egg-info .pytest_cache .ruff_cache .hypothesis
