# `make quickstart` and `make test` make the environment they need in .venv, once; `make mutants` tests the tests.
VENV       ?= .venv
PYTHON     ?= $(shell command -v python3.11 || command -v python3)
PYTEST     ?=

BIN     := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --no-compile -c requirements.lock  # Python compiles what it first imports
RUN     := runs/quickstart
FOLDER  ?= virtassay/flow
MUTANTS ?=

.PHONY: quickstart test mutants clean

quickstart: $(VENV)/.installed
	$(BIN)/virtassay prepare data=quickstart paths.datasets=$(RUN)/datasets data.prepare.overwrite=true
	$(BIN)/virtassay train experiment=quickstart paths.datasets=$(RUN)/datasets overwrite=true
	$(BIN)/virtassay sample run=$(RUN) like=test most=20 steps=10 guidance=auto overwrite=true
	$(BIN)/virtassay evaluate real=$(RUN)/datasets/quickstart generated=$(RUN)/generated

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --project . --pythonpath $(BIN)/python
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --dist loadfile $(PYTEST)  # a core each: threads would wait

mutants: $(VENV)/.installed-dev  # MUTANTS="--most 40": a sample of each file; CONTRIBUTING.md says how to read the result
	$(INSTALL) -e ".[mutation]"
	$(BIN)/python tests/mutants.py $(FOLDER) $(MUTANTS)

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "virtassay needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml requirements.lock
	$(INSTALL) -e ".[imagenet]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.created pyproject.toml requirements.lock
	$(INSTALL) -e ".[dev,imagenet,molecules]"
	$(INSTALL) --no-deps torchcfm efaar-benchmarking  # oracles of the tests; what they depend on brings another torch
	@touch $@ $(VENV)/.installed

clean:
	rm -rf .venv $(RUN) build dist .pytest_cache .ruff_cache .hypothesis
