# What a newcomer, a developer and CI type. Bare `make` prints help; every target does its own set-up.
#
# Set-up is one folder, .venv: made with the first Python that works, filled from a lock file (exact versions,
# each with its hashes), and filled again only when the lock changes. Nothing outside this folder is touched.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

# The interpreter to use, e.g. `make test PYTHON=/opt/python3.13/bin/python3`; otherwise the first that works.
PYTHON ?=
# Ready-made packages only: building one from source would fetch build tools that have no hash here.
PIP_ARGS ?= --only-binary :all:
# Files for `make demo`; simulated driving without them.
TRACE ?=
DBC ?=
export PYTHON TRACE DBC
# Bytecode is written, too: tests start hundreds of processes, and compiling took each longer than its work.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

# A pip.conf may name any index: what it gives must have a hash of the lock. It may not send packages elsewhere.
PIP_INSTALL := .venv/bin/python -m pip --disable-pip-version-check --no-input --quiet install --no-user
# A checkout is set up with every kind of source, so that none asks for a package at first use.
RUNTIME_EXTRAS := ble dbc mqtt node serial
UV_VERSION := 0.13.9
FOREIGN_TESTS := tests/gateway/test_mqtt_foreign.py tests/gateway/sensors/test_ble_on_bluez.py \
	tests/gateway/sensors/test_obd_foreign.py

# A .venv that was copied or moved, or whose Python was upgraded away, is made anew; one that works is kept,
# also one that somebody else has made.
VENV_IS_USABLE := $(shell .venv/bin/python -c 'import os, pip, sys; place = ".venv/.place"; \
	print(sys.version_info >= (3, 11) and (not os.path.exists(place) or open(place).read() == os.getcwd()))' \
	2>/dev/null)
ifneq ($(VENV_IS_USABLE),True)
.PHONY: .venv/.place
endif

.PHONY: help
help: ## Print this help
	@echo "CPChain edge: sense, seal, anchor and prove data. Nothing to prepare: each target sets itself up."
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1@\2/p' Makefile | while IFS=@ read -r target text; do \
		printf '%-18s %s\n' "$$target" "$$text"; done
	@echo
	@echo "Choose an interpreter with PYTHON=/path/to/python3 (3.11 or newer)."

.PHONY: demo
demo: .venv/.runtime ## Show the whole flow in under a minute; TRACE=file DBC=file take your own
	@set --; [ -z "$$TRACE" ] || set -- "$$@" --trace "$$TRACE"; [ -z "$$DBC" ] || set -- "$$@" --dbc "$$DBC"; \
		exec .venv/bin/cpc demo "$$@"

.PHONY: test
test: .venv/.dev style ## Check everything: style, types and all tests, as CI does
	.venv/bin/python -m pytest -n 2 --dist loadfile

.PHONY: quick
quick: .venv/.dev ## Run the tests that take a moment
	.venv/bin/python -m pytest -m "not slow"

.PHONY: tidy
tidy: .venv/.dev style ## Check format, lint, types and the rules of the house
	.venv/bin/python -m pytest tests/test_tidy.py

.PHONY: style
style: .venv/.dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

.PHONY: format
format: .venv/.dev ## Rewrite all files in the format that tidy asks for
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

.PHONY: bench
bench: .venv/.dev ## Measure: ours, peer, ratio, and a digest of the result
	.venv/bin/python -m tests.bench

.PHONY: bench-chain
bench-chain: .venv/.dev ## Measure a network of node processes on this machine: SECONDS=number RATE=number (minutes)
	.venv/bin/python -m tests.bench.chain_network --seconds $(or $(SECONDS),120) --rate $(or $(RATE),2000) \
		--away-seconds $(or $(AWAY),30)
	.venv/bin/python -m tests.bench.chain_network --seconds 20 --rate 200 --validators 4 7 13

.PHONY: bench-device
bench-device: .venv/.dev ## Measure a device's keys, handshakes and grants on MicroPython, and estimate them for an ESP32
	.venv/bin/python -m tests.bench.device

.PHONY: bench-visits
bench-visits: .venv/.dev ## Measure how long a gateway takes to meet its devices on a simulated air (minutes)
	.venv/bin/python -m tests.bench.visits

.PHONY: bench-peers
bench-peers: .venv/.dev ## Fetch foreign programs into environments of their own, and measure beside them
	.venv/bin/python -m tests.peers python-obd ble-parsers thingsboard-gateway
	.venv/bin/python -m tests.bench obd-query ble-advert mqtt-both-ways
	.venv/bin/python -m tests.bench.mqtt_outage

# What is not there is said: of all of these only mosquitto and dbus-daemon are not fetched.
.PHONY: foreign
foreign: .venv/.dev ## Fetch foreign programs into environments of their own, and test against them
	.venv/bin/python -m tests.peers bluezoo elm327-emulator amqtt
	.venv/bin/python -m pytest -rs $(FOREIGN_TESTS)

.PHONY: sim
sim: .venv/.dev ## Simulate a chain with faults: SEED=number; WITHOUT=kinds,of,faults HEIGHTS=blocks TRACE=1
	.venv/bin/python -m tests.sim --seed $(or $(SEED),1) --heights $(or $(HEIGHTS),10) \
		$(if $(WITHOUT),--without $(WITHOUT)) $(if $(TRACE),--trace)

.PHONY: sim-many
sim-many: .venv/.dev ## Simulate 10,000 seeds in two processes, from SEED=0 on (long)
	.venv/bin/python -m tests.sim --many $(or $(COUNT),10000) --seed $(or $(SEED),0)

.PHONY: crash
crash: .venv/.dev ## Cut the power at 500 points and look for lost records (long)
	.venv/bin/python -m tests.crash --points 500

.PHONY: crash-chain
crash-chain: .venv/.dev ## Cut the power at 1,000 points of a chain's life and look for lost votes and blocks (long)
	.venv/bin/python -m tests.chain_crash --points 1000

.PHONY: kill
kill: .venv/.dev ## Kill a gateway at 200 moments of a replay and look for lost records (long)
	.venv/bin/python -m tests.kill --runs 200

.PHONY: crash-firmware
crash-firmware: .venv/.dev ## Cut the power at every write of a board's update and see it start (long)
	.venv/bin/python -m tests.crash_firmware

.PHONY: faults
faults: .venv/.dev ## Kill gateways while their broker is ended, half-open for 40 s or their disk is full (long)
	.venv/bin/python -m tests.faults

.PHONY: nemesis
nemesis: .venv/.dev ## Torment a network of processes and judge its history: SEED=number FAULTS=count (long)
	.venv/bin/python -m tests.nemesis --seed $(or $(SEED),1) --faults $(or $(FAULTS),20)

.PHONY: soak
soak: .venv/.dev ## Run a gateway for ten minutes and watch its memory (long)
	.venv/bin/python -m tests.soak

.PHONY: soak-device
soak-device: .venv/.dev ## Let each role of the firmware live a simulated day, and watch its heap (minutes)
	.venv/bin/python -m tests.soak_device

.PHONY: hil
hil: .venv/.dev ## Tell every story to simulated boards, or to yours: RIG=bench.toml (long)
	RIG=$(or $(RIG),virtual) HIL_LONG=1 .venv/bin/python -m pytest -rs tests/hil

.PHONY: model
model: .venv/.dev ## Check the model of consensus in every case; needs Java (minutes)
	.venv/bin/python -m tests.model

.PHONY: model-device
model-device: .venv/.dev ## Check the models of the handshakes against an attacker; needs Java (a minute)
	.venv/bin/python -m tests.model_device

.PHONY: firmware
firmware: .venv/.dev ## Make the firmware of boards in build/firmware: ROLE=lock VERSION=number
	.venv/bin/python -m devices.firmware_build $(ROLE) $(if $(VERSION),--version $(VERSION))

.PHONY: flash
flash: .venv/.dev ## Put it on a board that runs MicroPython: ROLE=lock PORT=/dev/ttyUSB0 PROVISION=file
	@[ -n "$(ROLE)" ] && [ -n "$(PORT)" ] || { echo "make flash ROLE=lock PORT=/dev/ttyUSB0 PROVISION=lock1.cbor" >&2; exit 2; }
	.venv/bin/python -m devices.firmware_flash --role "$(ROLE)" --port "$(PORT)" \
		$(if $(PROVISION),--provision "$(PROVISION)")

.PHONY: examples
examples: .venv/.dev ## Run every example in tests/examples
	@set -e; for file in tests/examples/[a-z]*.py; do [ -e "$$file" ] || continue; \
		echo "== $$file"; .venv/bin/python "$$file"; done

# uv resolves once for all Pythons and machines; it lives in build/ and nothing else needs it.
# Pins stay where they can; `make lock UPGRADE=1` takes the newest versions.
.PHONY: lock
lock: .venv/.place ## Resolve pyproject.toml into requirements*.lock; UPGRADE=1 for newest
	@[ -x build/lock/bin/uv ] || .venv/bin/python -m venv build/lock
	@build/lock/bin/python -m pip --disable-pip-version-check --quiet install uv==$(UV_VERSION)
	@set -e; export UV_CUSTOM_COMPILE_COMMAND="make lock"; compile() { build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --no-annotate $(if $(UPGRADE),--upgrade) --group build "$$@"; }; \
		compile --all-extras --output-file requirements-dev.lock pyproject.toml; \
		compile $(RUNTIME_EXTRAS:%=--extra %) --constraint requirements-dev.lock --output-file requirements.lock pyproject.toml
	@grep -c '==' requirements.lock requirements-dev.lock

.PHONY: clean
clean: ## Remove .venv, caches and what a build or a demo left
	rm -rf .venv build dist demo-data .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.place:
	@set -e; python=; \
	if [ "$(VENV_IS_USABLE)" = True ]; then printf %s "$$(pwd -P)" > .venv/.place; exit 0; fi; \
	if [ -n "$$PYTHON" ]; then set -- "$$PYTHON"; \
	else set -- python3.13 python3.12 python3.11 python3 /usr/bin/python3; fi; \
	for candidate in "$$@"; do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11) or sys.implementation.name != "cpython")' \
			>/dev/null 2>&1; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "No CPython 3.11 or newer among: $$*." >&2; \
		echo "On Debian 12, Ubuntu 24.04 or Raspberry Pi OS:  sudo apt install python3 python3-venv" >&2; \
		echo "or name one:  make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import platform, sys; sys.exit(sys.maxsize < 2**32 or platform.machine() not in ("x86_64", "aarch64", "arm64"))'; then \
		echo "Warning: this is not a 64-bit x86 or Arm system, so not all packages exist ready-made. If set-up fails," >&2; \
		echo "use the 64-bit Raspberry Pi OS, or build from source (needs compilers for C and Rust):  make PIP_ARGS=" >&2; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "This Python has no venv module. Install it and try again:  sudo apt install python3-venv" >&2; exit 1; \
	fi; \
	echo "Making .venv with $$("$$python" -c 'import platform, sys; print("Python", platform.python_version(), "of", sys.prefix)')."; \
	"$$python" -m venv --clear .venv; \
	printf %s "$$(pwd -P)" > .venv/.place

# Our own package goes in as a link (editable), built by the locked hatchling, so nothing without a hash is fetched.
.venv/.runtime: requirements.lock pyproject.toml .venv/.place
	@[ -e .venv/.dev ] || echo "Installing $$(grep -c == requirements.lock) packages into .venv (a minute, once) ..."
	@$(PIP_INSTALL) $(PIP_ARGS) --require-hashes --requirement requirements.lock
	@$(PIP_INSTALL) --no-index --no-build-isolation --no-deps --editable .
	@touch $@

.venv/.dev: requirements-dev.lock pyproject.toml .venv/.place
	@echo "Installing $$(grep -c == requirements-dev.lock) packages into .venv (a minute, once) ..."
	@$(PIP_INSTALL) $(PIP_ARGS) --require-hashes --requirement requirements-dev.lock
	@$(PIP_INSTALL) --no-index --no-build-isolation --no-deps --editable .
	@touch $@ .venv/.runtime
