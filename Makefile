# Two commands: `make demo` runs the whole pipeline on real images, `make test` runs every test.
PYTHON ?= python3
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check
# Options of `pip install`, such as --no-compile: an environment that is used once compiles what it imports.
PIP_OPTIONS ?=

.PHONY: demo test fuzz lint docs newest install install-demo clean

# What everybody needs: torch first, so that pip settles its version before anything that builds on it.
$(VENV)/base: pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade "pip>=24.2"
	$(PIP) install --quiet $(PIP_OPTIONS) -c constraints.txt torch
	touch $@

$(VENV)/demo: $(VENV)/base
	$(PIP) install --quiet $(PIP_OPTIONS) -c constraints.txt -e ".[demo]"
	touch $@

$(VENV)/installed: $(VENV)/base
	$(PIP) install --quiet $(PIP_OPTIONS) -c constraints.txt -e ".[demo,test,trackers,wandb,lora,qlora,privacy,ray,docs]"
	touch $@ $(VENV)/demo

install: $(VENV)/installed

install-demo: $(VENV)/demo

demo: install-demo
	$(VENV)/bin/infimed-run examples/full.yaml

test: install
	HF_HUB_OFFLINE=1 $(VENV)/bin/python -m pytest -n 2 --dist worksteal -q

# Every reader and modality with 2,000 damaged inputs each, before a release (about an hour).
fuzz: install
	HF_HUB_OFFLINE=1 INFIMED_FUZZ_CASES=2000 INFIMED_FUZZ_EXAMPLES=2000 $(VENV)/bin/python -m pytest -q \
		tests/plugins/test_readers_runs.py tests/plugins/test_pixels_fuzz.py tests/fuzz/test_fuzz.py

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# The documentation as a site: build/site/index.html.
docs: install
	HF_HUB_OFFLINE=1 NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

# Families, packing, checkpoints, adapters and training on the newest transformers and torch that install.
newest: install
	$(VENV)/bin/python benchmarks/newest_versions.py --json build/newest_versions.json

clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
