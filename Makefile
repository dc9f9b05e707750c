# Two commands: `make demo` runs the whole pipeline on real images, `make test` runs every test.
PYTHON ?= python3
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check

.PHONY: demo test lint install clean

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade "pip>=24.2"
	$(PIP) install --quiet -c constraints.txt torch
	$(PIP) install --quiet -c constraints.txt -e ".[demo,test,trackers,wandb,lora,privacy,ray]"
	touch $@

install: $(VENV)/installed

demo: install
	$(VENV)/bin/infimed-run examples/full.yaml

test: install
	HF_HUB_OFFLINE=1 $(VENV)/bin/python -m pytest -n 2 --dist worksteal -q

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
