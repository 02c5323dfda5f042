# Everything a checkout needs: `make up` and `make test` work with nothing but make and Python 3.11 to 3.13.
# Variables of `make up`: PORT, MODEL, DEVICE=auto|cpu|cuda, WORKERS=url,... (attach, start no engine), PYTHON,
# COMPILED=0 (never compile the hot modules) or 1 (compile them even while their sources are being edited).

.DEFAULT_GOAL := help
.PHONY: up test check bench programs compare demo lock clean help python dev
export PORT MODEL DEVICE WORKERS COMPILED

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
LOCAL_WHEELS = UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}"
RESOLVE = $(BIN)/uv pip compile -q --universal \
	--python-version 3.11 --no-emit-index-url --no-emit-find-links --no-annotate --no-header
LOCK = $(RESOLVE) pyproject.toml
CPU_LOCK = $(LOCAL_WHEELS) $(LOCK) --overrides requirements/overrides.txt

up: python  ## environment, model, store, two workers, gateway; Ctrl-C stops it all
	@$(PYTHON) -m engines.install up

test: dev  ## all tests, those on a real engine too; TESTS="path ..." for some, COMPILED=1 on compiled modules
	@test "$(COMPILED)" != 1 || $(PYTHON) -m engines.install compile
	@$(BIN)/pytest --durations=10 $(TESTS)

check: dev  ## lint, format, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: dev  ## proxy overhead against other routers
	@$(PYTHON) -m engines.install compile
	@$(BIN)/python -m loadtest.overhead --locust-s 5

programs: dev  ## whole programs run by their client and by the gateway, near and far; FLAGS="--quick"
	@$(PYTHON) -m engines.install compile
	@$(BIN)/python -m loadtest.programs $(FLAGS)

compare: dev  ## whole programs over this gateway and its peers, on a real vLLM; FLAGS="--minutes 20"
	@$(PYTHON) -m engines.install compile
	@$(BIN)/python -m loadtest.compare $(FLAGS)

demo:  ## example programs against the running gateway
	@test -x $(BIN)/python || { echo "no environment yet: run make up in another terminal first"; exit 1; }
	@$(BIN)/python -m examples.demo

lock: dev  ## resolve the versions in requirements/ anew
	$(CPU_LOCK) --upgrade --extra cpu --extra dev -o requirements/dev.txt
	$(CPU_LOCK) --extra cpu -c requirements/dev.txt -o requirements/cpu.txt
	$(LOCK) -c requirements/dev.txt -o requirements/gateway.txt
	$(RESOLVE) --group compile -c requirements/dev.txt -o requirements/compile.txt
	$(LOCK) --upgrade --extra cuda -o requirements/cuda.txt

clean:  ## remove the environments, the model and the store's data
	rm -rf .venv .venv-cuda .loomgate .mypy_cache .ruff_cache .pytest_cache .hypothesis

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

dev: python
	@$(PYTHON) -m engines.install dev

python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 to 3.13 on PATH: install one, or say make PYTHON=/path/to/python3"; exit 1; }
