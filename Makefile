# Two commands matter: `make demo` and `make test`. Both install what they need into .venv first; a second call installs nothing.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 3
GPU := $(shell nvidia-smi -L >/dev/null 2>&1 && echo yes)
# torch goes first: left to the other packages it would pull gigabytes of CUDA libraries onto a machine without a GPU.
# Without a GPU the CPU build is taken where pip can find it (an index or wheel folder that offers it), else the plain one;
# TORCH="torch==2.9.1" overrides, and pip's own PIP_* variables are respected.
TORCH ?= $(if $(GPU),torch>=2.6,torch==2.13.0+cpu torch==2.13.0)

# What orbit2 never imports of the packages that it needs: compiled when it is, after all.
UNUSED := /tests?/|site-packages/(sklearn|pip|mypyc?|debugpy|setuptools|pysteps|imageio|joblib|jedi|git|pyasn1_modules)/|sympy/(physics|combinatorics|stats)/|fontTools/(ttLib|varLib|feaLib)/|statsmodels/(tsa|genmod|discrete|sandbox)/|sqlalchemy/(dialects|testing|ext)/|numba/cuda/|numpy/distutils/

.PHONY: help install compiled demo demo-climate interruptions test test-slow test-shipped test-wheel test-newcomer test-slurm test-faults test-browser slurm-demo slurm-here lint style format docs docs-site test-notebooks costs picture screenshots bench snakemake-report dist version notes constraints clean distclean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

install: .venv/.installed .venv/.kernels ## Create .venv and install orbit2 with its development tools

.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "error: orbit2 needs Python >= 3.11, '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true); install it, or name it: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "error: '$(PYTHON)' has no venv module; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@[ -x $(BIN)/python ] && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@touch $@

.venv/.torch: .venv/.created
	@for build in $(foreach build,$(TORCH),'$(build)'); do \
	  echo "Installing $$build ..."; \
	  $(BIN)/python -m pip install -qq --no-compile "$$build" && exit 0 || echo "$$build could not be installed" >&2; \
	done; exit 1
	@echo '$(TORCH)' > $@
# A build that is asked for and is not the one that is there is installed, also into an environment that is complete.
ifneq ($(filter command environment,$(origin TORCH)),)
ifneq ($(strip $(TORCH)),$(shell cat .venv/.torch 2>/dev/null))
.venv/.torch: .venv/.asked
.PHONY: .venv/.asked
endif
endif

# pip works on one core: of the known versions two of it take half each, without asking what needs what. Where one cannot be had (another
# Python, another system) or something is lacking then, a third asks, and does the rest.
.venv/.installed: .venv/.torch pyproject.toml constraints.txt
	@echo "Installing orbit2 and what it needs ..."
	@grep -vE '^(#|torch==)' constraints.txt > .venv/constraints.txt
	@trap 'kill $$(jobs -p) 2>/dev/null || true' EXIT; rm -f .venv/half-*; for half in 0 1; do \
	  { awk "NR % 2 == $$half" .venv/constraints.txt > .venv/half-$$half.txt; \
	    $(BIN)/python -m pip install -qq --no-compile --no-deps --no-input -r .venv/half-$$half.txt >/dev/null 2>&1 && touch .venv/half-$$half.done; } & \
	done; wait
	@{ [ -e .venv/half-0.done ] && [ -e .venv/half-1.done ] && $(BIN)/python -m pip install -qq --no-compile --no-deps -e . >/dev/null 2>&1 \
	    && $(BIN)/python -m pip check >/dev/null 2>&1; } || $(BIN)/python -m pip install -qq --no-compile -c .venv/constraints.txt -e '.[dev,docs,fast]'
	@rm -f .venv/half-*
	@$(BIN)/python -m compileall -qq -j 0 -x '$(UNUSED)' .venv/lib || true  # pip would do it on one core
	@touch $@

# The loops that numba compiles, once, on all cores: stages side by side would wait for each other's. What cannot be is compiled when needed.
.venv/.kernels: .venv/.installed $(shell grep -rl --include='*.py' '^from orbit2.jit import' orbit2)
	@echo "Compiling orbit2's loops ..."
	-@$(BIN)/python -m orbit2.ahead
	@touch $@

compiled: install # orbit2's own modules, once: where Python writes no bytecode (PYTHONDONTWRITEBYTECODE), every start of a stage would compile them
	@$(BIN)/python -m compileall -q orbit2

demo: compiled ## Run the whole pipeline on the real ERA5 that ships with orbit2; prints the report's path and the headline numbers
	@if compgen -G '.snakemake/locks/*' >/dev/null; then $(BIN)/orbit2 unlock; fi  # left by a killed run; a live one is left alone
	@$(BIN)/snakemake --profile profiles/local all
	@$(BIN)/orbit2 report headline results/demo

demo-climate: compiled ## Ten years of a SYNTHETIC test world through every stage: a full climate report (results/demo_climate)
	@if compgen -G '.snakemake/locks/*' >/dev/null; then $(BIN)/orbit2 unlock; fi
	@$(BIN)/snakemake --profile profiles/local all --configfile config/runs/demo_climate.yaml --set-threads train_model=1 # so small a model has no use for more: baselines are fitted beside it
	@$(BIN)/orbit2 report headline results/demo_climate

slurm-demo: slurm-here install ## The demo through a SLURM of two virtual nodes that is started for it, training on both (results/slurm-demo)
	@$(BIN)/python -m tests.workflow.slurm_demo

test: style compiled ## Linters and import rules, then the tests, and types (mypy --strict) beside them
	@ORBIT2_TYPES=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-slow: compiled ## The tests that take minutes (a small pipeline from end to end among them)
	@$(BIN)/python -m pytest -m "slow and not slurm"

test-newcomer: install ## Follow the README word for word in a fresh clone and environment, timed (half an hour or more; SHORT=1: the demo cut short)
	@$(BIN)/python -m tests.newcomer.walk $(if $(SHORT),--short)

test-shipped: compiled ## Every shipped run in small, from the providers (on local servers) to the report (half an hour)
	@$(BIN)/python -m pytest -m "slow or not slow" tests/workflow/test_miniature.py tests/workflow/test_shipped_miniature.py tests/workflow/test_whole_run.py \
	  tests/workflow/test_climate_demo.py tests/workflow/test_little_reports.py tests/workflow/test_tiles_run.py tests/workflow/test_own_data.py \
	  tests/workflow/test_own_maps_walk.py tests/workflow/test_own_recipes_walk.py \
	  tests/workflow/test_published_walk.py

test-wheel: install ## Build wheel and source archive, install the wheel into an empty environment and run the workflow there (2 minutes)
	@$(BIN)/python -m pytest -m "slow or not slow" tests/docs/test_wheel.py

test-slurm: slurm-here install ## The tests on a real SLURM of virtual nodes on this machine (as root: memory is limited, too)
	@$(BIN)/python -m pytest -m slurm

interruptions: slurm-here install ## Write the table of docs/interruptions.md anew: jobs of a real SLURM, interrupted (half an hour of a quiet machine)
	@ORBIT2_INTERRUPTIONS=1 $(BIN)/python -m pytest -m slurm tests/slurm
	@$(BIN)/python docs/interruptions.py

slurm-here:
	@PATH="$$PATH:/usr/sbin"; { command -v slurmctld && command -v slurmd && command -v munged; } >/dev/null || \
	  { echo "error: this needs a SLURM to start (not one that runs); on Debian or Ubuntu: apt-get install slurm-wlm munge" >&2; exit 2; }

test-browser: install ## The report in headless Chromium: clicks, keys, colours, print (needs Chromium; ORBIT2_CHROMIUM says where)
	@$(BIN)/python -m pytest -m browser tests/unit/report tests/docs

test-faults: install ## Every stage under signals, a dead reader and a full disk, the slow rows too
	@$(BIN)/python -m pytest -m "slow or not slow" tests/faults

lint: style ## ruff, mypy --strict, import rules, snakefmt
	@$(BIN)/mypy

style: install
	@$(BIN)/ruff check orbit2 tests benchmarks docs
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/snakefmt --check --compact-diff workflow

format: install ## Let the tools fix what they can
	@$(BIN)/ruff check --fix orbit2 tests benchmarks docs
	@$(BIN)/snakefmt workflow

docs: install ## Regenerate the configuration pages, the JSON schema, the performance page and the pictures of the mesh and the DAG
	@$(BIN)/orbit2 config generate
	@$(BIN)/python docs/mesh.py
	@$(BIN)/python docs/performance.py
	@command -v dot >/dev/null || { echo "error: the DAG picture needs graphviz; on Debian or Ubuntu: apt-get install graphviz" >&2; exit 2; }
	@$(BIN)/snakemake --profile profiles/local --config 'set=[downscale.quarter_degree.blocks=2]' --rulegraph dot -- all 2>/dev/null | dot -Tsvg > docs/dag.svg

docs-site: compiled ## Make the documentation site (build/docs/index.html; no network needed to read it): warnings are errors, links are checked
	@$(BIN)/python -m sphinx -W --keep-going -q -b html -c docs/site docs build/docs
	@ORBIT2_SITE=build/docs $(BIN)/python -m pytest -q -m "slow or not slow" tests/docs/test_site.py
	@echo "Open build/docs/index.html"

test-notebooks: compiled ## The notebooks of docs/notebooks, all of them (2 to 4 minutes on 2 quiet cores)
	@$(BIN)/python -m pytest -q -s -m "slow or not slow" tests/docs/test_notebooks.py

costs: install ## Write the tables of docs/costs.md anew: every shipped run on five machines (some minutes)
	@$(BIN)/python docs/costs.py

picture: demo ## Make README's picture (docs/demo.png) of the demo report's zoom: half as wide, 256 colours
	@$(BIN)/python -c 'from PIL import Image; Image.open("results/demo/report/figures/zoom_2m_temperature.png").convert("RGB").reduce(2).quantize(256, dither=0).save("docs/demo.png", optimize=True)'

screenshots: demo ## Take the pages' screenshots of the demo's report (needs Chromium; ORBIT2_CHROMIUM says where)
	@$(BIN)/python docs/screenshots.py results/demo

bench: install ## Run every benchmark; results go to benchmarks/results
	@$(BIN)/python -m pip install -qq -c .venv/constraints.txt -e '.[bench]'  # libraries that are measured beside orbit2's scores
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script; done

snakemake-report: install ## Snakemake's own report of the demo run (results/demo/snakemake.html)
	@$(BIN)/snakemake --profile profiles/local --report results/demo/snakemake.html all

dist: install ## Build wheel and source archive into dist/
	@rm -rf dist
	@$(BIN)/python -m hatchling build -d dist

version: ## Print the version
	@sed -nE 's/^version = "(.*)"$$/\1/p' pyproject.toml

notes: ## Print the changelog's section of this version
	@awk -v section="## [$$($(MAKE) -s version)]" 'index($$0, "## [") == 1 { found = index($$0, section) == 1; next } found' CHANGELOG.md

constraints: install ## Write the versions of this .venv into constraints.txt
	@{ echo "# Exact versions that the demo and the tests were run with; written by 'make constraints'."; \
	  $(BIN)/python -m pip freeze --exclude-editable | sed -E 's/^([A-Za-z0-9_.-]+==[^+]+)\+.*/\1/'; } > constraints.txt

clean: ## Remove results and caches (downloads and .venv stay)
	@rm -rf .snakemake .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	@find results -mindepth 1 ! -name .gitkeep -delete

distclean: clean ## Also remove .venv and downloads
	@rm -rf .venv resources
