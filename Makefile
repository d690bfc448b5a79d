# Missionstream: the commands of a working day. `make` alone lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
AGENTS := tests/agents/real

.DEFAULT_GOAL := help
.PHONY: help demo test test-agents lint format dev bench bench-peers clean

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

$(VENV)/.run: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Missionstream needs Python 3.11 or newer; name one with: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Missionstream into $(VENV) …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "installing the development tools …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(VENV)/.run ## run a real agent on a mission and watch it live
	@$(BIN)/missionstream demo

# What starts whole servers and kills them wants the machine for itself; the rest shares it.
ALONE := tests/system tests/cli tests/crew
test: lint ## everything that must hold: lint, then every test
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ALONE:%=--ignore=%)
	@$(BIN)/python -m pytest $(ALONE)

test-agents: $(VENV)/.dev $(AGENTS)/node_modules/.package-lock.json ## run the real coding agents from npm with a scripted model; RECORD=1 records anew
	@command -v bwrap >/dev/null || { echo "the real agents are tried in their sandbox: apt-get install bubblewrap" >&2; exit 1; }
	@RECORD=$(RECORD) $(BIN)/python -m pytest -m real_agents tests/agents/real

# Not `npm ci`: that refuses a registry which lacks the programs of other platforms.
$(AGENTS)/node_modules/.package-lock.json: $(AGENTS)/package-lock.json $(AGENTS)/.npmrc
	@command -v npm >/dev/null || { echo "the real agents need Node 20 and npm" >&2; exit 1; }
	@echo "installing the coding agents into $(AGENTS)/node_modules (1.4 GB) …"
	@cd $(AGENTS) && npm install --no-save --loglevel=error && node node_modules/opencode-ai/postinstall.mjs
	@touch $@

lint: $(VENV)/.dev ## ruff, mypy --strict, import-linter
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev ## let ruff format and mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

dev: $(VENV)/.dev ## serve on loopback without authentication
	@MISSIONSTREAM_AUTH=off $(BIN)/missionstream serve

bench: $(VENV)/.dev ## measure beside other servers; make bench ARGS="--quick" takes two minutes
	@PYTHONPATH=. $(BIN)/python -P -m tests.bench $(ARGS)

bench-peers: ## install the servers that the benchmark measures beside ours (Debian; as root)
	@apt-get install --yes --no-install-recommends nginx libnginx-mod-nchan gcc libc6-dev

clean: ## remove the environment and caches
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
