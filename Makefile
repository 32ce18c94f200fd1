# Two commands matter: `make course` and `make test`. Without make: python -m minidiff.course.start
PYTHON ?= python3
VERBS := course hello setup doctor test site

.DEFAULT_GOAL := help
.PHONY: help clean python $(VERBS)

help:
	@echo "make course   set up, check, make clips of a sentence, open the notebooks in JupyterLab"
	@echo "make hello    the same, up to the clips: outputs/hello.mp4"
	@echo "make doctor   set up and check this machine"
	@echo "make setup    make .venv with the pinned dependencies"
	@echo "make test     set up and run every check and test, notebooks included"
	@echo "make site     write the course as pages to read without running anything: outputs/site"
	@echo "make clean    remove .venv and caches; your work/ and outputs/ stay"
	@echo "another Python: make course PYTHON=python3.12"

$(VERBS): python
	@$(PYTHON) -m minidiff.course.start $@

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "stopped: '$(PYTHON)' is not Python 3.11 or newer: install one (python.org/downloads), then name it: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }

clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache
	find minidiff tests notebooks data -name __pycache__ -prune -exec rm -rf {} +
