# Needs make, git and Python 3.11 to 3.13 with its venv module; all else goes into .venv from PyPI.
#   make demo          install, make a synthetic cohort and run the pipeline on it
#   make test          install, lint, all tests but the slow ones (about 15 minutes on two cores)
#   make radiomics     pyradiomics, which a C compiler builds in two minutes; `make test` uses it
#   make segmentation  TotalSegmentator in an environment of its own (2.5 GB), for its tests
#   make slicer        3D Slicer's engine in an environment of its own (1.7 GB), for its tests
#   make test-all      the slow tests too
#   make test-cluster  the tests that need a SLURM cluster on this machine
#   make bench         benchmarks: ratios against other programs in the same run
#   make lint          ruff alone
#   make clean         remove what make made
# Another interpreter: make PYTHON=/path/to/python3.12 demo

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
PYRADIOMICS := pyradiomics-cuda==1.0.4 pykwalify==1.8.0 pywavelets==1.9.0 docopt==0.6.2 \
  scikit-image==0.26.0 trimesh==5.2.0
EXTRAS := codecs,crosscheck,fast,plots,pseudonymise,seg,test,xlsx
# Two files of tests at a time: what one of them makes for its tests is made once.
SIDE_BY_SIDE := --numprocesses 2 --dist loadfile
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet

.PHONY: help demo install radiomics segmentation slicer test test-all test-cluster bench lint clean

help:
	@sed -n 's/^#//p' Makefile

install: $(STAMP)

demo: $(STAMP)
	@$(BIN)/python -m RTPipelineLib demo demo-output

# It is built from source: without a compiler its tests skip, with the reason.
radiomics: $(STAMP)
	@$(BIN)/python -c 'import radiomics.featureextractor, skimage, trimesh' 2>/dev/null || { \
	  echo "Building pyradiomics (once; about two minutes) ..."; \
	  $(PIP) install --constraint constraints.txt $(PYRADIOMICS) >/dev/null 2>&1 || \
	  echo "pyradiomics could not be built: the tests of radiomics are skipped (Debian, Ubuntu: apt install gcc python3-dev)." >&2; }

segmentation: $(STAMP)
	@$(BIN)/python Testing/segmentation/install.py .venv-segmentation

slicer: $(STAMP)
	@$(BIN)/python Testing/structures/install_slicer.py .venv-slicer

test: lint radiomics segmentation slicer
	@$(BIN)/python -m pytest -m "not slow" $(SIDE_BY_SIDE)

test-all: lint radiomics segmentation slicer
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE)

# SLURM on this machine (Debian packages, root) and Snakemake from PyPI; about twenty minutes.
test-cluster: $(STAMP)
	@$(PIP) install --constraint constraints.txt --editable '.[cluster]'
	@Testing/cluster/start_slurm.sh .slurm
	@RTPIPELINE_TEST_CLUSTER=1 $(BIN)/python -m pytest Testing/cluster Testing/run/test_snakemake.py

bench: $(STAMP)
	@set -e; for script in Testing/Benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script; done

lint: $(STAMP)
	@$(BIN)/ruff check --quiet

clean:
	@rm -rf $(VENV) .venv-segmentation .venv-slicer demo-output build dist .pytest_cache .ruff_cache .hypothesis
	@find RTPipeline RTPipelineLib Testing -name __pycache__ -prune -exec rm -rf {} +

# An environment that exists is brought up to date in place; one without a working pip is made anew.
$(STAMP): pyproject.toml constraints.txt
	@set -eu; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  good=""; without_venv=""; \
	  for python in $(CANDIDATES); do \
	    $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null || continue; \
	    if $$python -c 'import ensurepip, venv' 2>/dev/null; then good=$$python; break; fi; \
	    without_venv=$$python; \
	  done; \
	  if [ -z "$$good" ] && [ -n "$$without_venv" ]; then \
	    echo "$$without_venv lacks its venv module: install it (Debian, Ubuntu: apt install python3-venv)." >&2; exit 2; \
	  elif [ -z "$$good" ]; then \
	    echo "Python 3.11, 3.12 or 3.13 is needed and none of these is one: $(CANDIDATES). Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 2; \
	  fi; \
	  $$good -m venv --clear $(VENV); \
	fi; \
	echo "Installing the packages of constraints.txt into $(VENV) (once; a minute or two) ..."; \
	$(PIP) install --constraint constraints.txt --editable '.[$(EXTRAS)]'; \
	touch $@
