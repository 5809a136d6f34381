# Targets that need .venv set it up where it is missing or older than the lock file.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help repro test test-all lint format plots diff report times serve site results rescore release wheel remote verify url use lock
.DEFAULT_GOAL := help

help:                ## list these targets
	@awk -F ':.*## ' '/^[a-z-].*:.*## / {printf "make %-14s %s\n", $$1, $$2}' Makefile

repro: $(READY)      ## run the whole pipeline, or what is left of it
	@PYTHONPATH=stages python -m fer_pipeline.training.common.profile
	dvc repro
	@echo "make report shows the results on one page; if git status lists changed files, docs/evidence.md says why"

# One worker more than cores, as tests wait for processes that they start; of one thread each, or they would spin.
test test-all: export OMP_NUM_THREADS = 1
test test-all: export TF_NUM_INTRAOP_THREADS = 1
test test-all: export TF_NUM_INTEROP_THREADS = 1
PYTEST = python -m pytest --numprocesses $$(python -c "import os; print(os.cpu_count() + 1)") --dist worksteal
test: $(READY)       ## run the tests, but for those that only a release needs
	$(PYTEST) -m "not release"

test-all: $(READY)   ## run all tests, with browsers, an SSH server and another processor
	$(PYTEST)

lint: $(READY)       ## check style, format and types
	ruff check
	ruff format --check
	mypy

format: $(READY)     ## mend what lint can mend
	ruff check --fix
	ruff format

plots: $(READY)      ## write dvc_plots/index.html, which opens without a network connection
	@python tools/list_plots.py
	dvc plots show

diff: $(READY)       ## BASE=...: write dvc_plots/diff.html: how results and parameters differ from that branch, tag or commit
	@python tools/diff_page.py $(or $(BASE),main)

report: $(READY)     ## write plots/report.html after whatever it needs, and open it where there is a browser
	dvc repro report
	@echo "file://$(CURDIR)/plots/report.html"
	@python -m webbrowser "file://$(CURDIR)/plots/report.html" >/dev/null 2>&1 || true

times: $(READY)      ## print how long things took on this machine, and write plots/timing.html
	@python tools/times.py

# For these, what requirements-use.txt lists is enough, wherever it is installed.
serve site: use
use:
	@python -c 'import cv2, fastapi, onnxruntime, PIL, python_multipart, uvicorn' 2>/dev/null || $(MAKE) --no-print-directory $(READY)

serve:               ## a page on this machine that says what the faces in a photo show
	@python apps/serve.py

site:                ## write build/site, the same page without a server, for any static host; needs npm
	@python tools/build_site.py

results: $(READY)    ## NAME=...: keep the finished run in results/NAME/, and set its tables into the pages; MIXED=1: one of unlike trainings
	python tools/collect.py $(NAME) $(if $(MIXED),--mixed)

rescore: $(READY)    ## NAME=...: compute the scores of a kept run from its predictions anew, and compare
	python tools/rescore.py $(NAME)

release: $(READY)    ## NAME=...: make pretrained/ from a kept run
	python tools/release.py $(NAME) $(or $(NETWORK),compact)

wheel:               ## write build/wheel/fer_pipeline-*.whl, which `pip install` takes: Faces, fer-predict, fer-serve
	$(PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .

# The remote stands in .dvc/config, so that whoever clones can pull; names and keys go into .dvc/config.local, by
# `dvc remote modify --local team ...`. The lock file has what ssh:// needs; s3:// is heavier and comes only when used.
remote: url $(READY) ## share DVC's caches: make remote URL=... (a folder, ssh://HOST/PATH, s3://BUCKET/PATH)
	@case "$$URL" in s3://*) \
		python -m pip --require-virtualenv install --quiet --disable-pip-version-check \
			--constraint requirements.lock '.[remote]';; esac
	dvc remote add --force --default team "$$URL"
	dvc remote modify team verify true
	@echo "Commit .dvc/config to share it; then \`dvc push\` brings the caches there, and \`dvc pull\` fetches them."

# DVC trusts its cache and a remote; this reads all of it. Files of another form of name are unfinished ones.
verify:              ## compare DVC's cache, or the FOLDER=... of a remote, with its checksums
	@cd '$(or $(FOLDER),.dvc/cache)/files/md5' 2>/dev/null || \
		{ echo 'error: $(or $(FOLDER),.dvc/cache) is no cache or remote of DVC; it has no files/md5' >&2; exit 1; }; \
		find ?? -type f | \
		sed -En 's|^(..)/([0-9a-f]{30})(\.dir)?$$|\1\2  &|p' | md5sum --check --quiet

url:
	@case "$$URL" in *[![:space:]]*) ;; *) \
		echo "error: no URL: name a folder, ssh://HOST/PATH or s3://BUCKET/PATH, as in make remote URL=..." >&2; exit 1;; esac

$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; not (3, 11) <= v[:2] <= (3, 13) and sys.exit(f"error: Python {v[0]}.{v[1]} found, 3.11 to 3.13 needed; name one, as in make repro PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	touch $@

lock:                ## resolve pyproject.toml anew in an environment of its own; rewrites requirements.lock
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check '.[dev]'
	build/lock/bin/python -m pip freeze --exclude fer-pipeline \
		| sed -E 's/^((nvidia|cuda|triton)[^ ]*)$$/\1 ; sys_platform == "linux"/' > requirements.lock
