# `make demo` and `make test` are all that a newcomer needs: each installs what it needs into .venv first.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PROTO_OUT ?= proto

.PHONY: demo test faults check bench proto clean

demo: $(INSTALLED)
	@$(BIN)/unseen demo

test: $(INSTALLED)
	@$(BIN)/python -m pytest

# kill -9 of any process at any moment, for ten minutes; UNSEEN_FAULTS_SEED chooses the moments.
faults: $(INSTALLED)
	UNSEEN_FAULTS_SECONDS=$${UNSEEN_FAULTS_SECONDS:-600} $(BIN)/python -m pytest tests/faults/test_killed.py -s

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint proto
	$(BIN)/python -m pytest tests/test_generated_code.py

bench: $(INSTALLED)
	$(BIN)/python -m tests.bench.paillier --json
	$(BIN)/python -m tests.bench.aggregate --json
	$(BIN)/python -m tests.bench.overlap --json
	$(BIN)/python -m tests.bench.reconcile --json

# Regenerates the wire's Python code. The test of freshness runs this into an empty folder and compares bytes.
proto: $(INSTALLED)
	@$(BIN)/python -m grpc_tools.protoc -I proto \
		--plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
		--python_out=$(PROTO_OUT) --grpc_python_out=$(PROTO_OUT) \
		--mypy_out=quiet:$(PROTO_OUT) --mypy_grpc_out=quiet:$(PROTO_OUT) proto/unseen/v1/*.proto

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Unseen needs Python 3.11, 3.12 or 3.13: install one, or run make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Setting up $(VENV) (once; a few minutes on a slow line)" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
