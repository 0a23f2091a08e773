# Each target works in a clean clone: it creates a virtual environment, and rebuilds what has changed.
PYTHON ?= python3
VENV ?= .venv
BUILD ?= build
CSRC ?= csrc
ifeq ($(origin CC),default)
CC = gcc
endif

PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --no-compile
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Python compiles modules when it first imports them, and keeps the result: pip would compile all, imported or not.
export PYTHONDONTWRITEBYTECODE =

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 15

demo: ## train on digits: demo.png; the paper's Figure 1 in short, in demo/, if MNIST is found
	@$(MAKE) --no-print-directory -j2 $(VENV)/.built $(VENV)/.installed
	$(PY) -m asysvrg.demo

TESTED := $(addprefix $(VENV)/.,installed built with-test with-mpi)
SIDE_BY_SIDE := -n 2 --dist worksteal# two processes: many tests start threads or ranks of their own
test: $(TESTED) ## the tests; ARGS="-m 'not slow'" for the short ones, ARGS="-k words" for some, ARGS="-n 0" for one process
	$(PY) -m pytest $(SIDE_BY_SIDE) $(ARGS)

test-all: $(TESTED) ## the tests with all combinations of settings in the place of covering sets, and more repetitions
	$(PY) -m pytest $(SIDE_BY_SIDE) --full $(ARGS)

test-faults: $(TESTED) ## 70 distributed runs that lose workers or the server (an hour); ARGS="--workers 5 --servers 2" for fewer
	$(PY) tests/fault_campaign.py $(ARGS)

fuzz: $(VENV)/.installed $(VENV)/.built $(VENV)/.with-test ## damaged files for ten minutes; SECONDS=... for another time
	ASYSVRG_FUZZ_SECONDS=$(or $(SECONDS),600) $(PY) -m pytest tests/test_fuzz.py

BENCH := $(VENV)/.installed $(VENV)/.built $(VENV)/.with-bench $(VENV)/.with-mpi

bench: bench-suite bench-peers ## all benchmarks, in bench/results/, and the table of bars in docs/performance.md; an hour
	$(PY) bench/threads.py
	$(PY) bench/linear.py
	$(PY) bench/memory.py
	$(PY) bench/report.py

bench-suite: $(BENCH) ## kernels, iterations, growth; ARGS="-k lines" for a part
	mkdir -p bench/results
	$(PY) -m pytest bench --benchmark-only --benchmark-json=bench/results/$$(date +%Y%m%d-%H%M%S).json $(ARGS)

bench-peers: $(BENCH) ## seconds to an objective against every peer, with the settings in bench/peers_best.json
	$(PY) bench/peers.py run

bench-tune: $(BENCH) ## look for those settings again; an hour
	$(PY) bench/peers.py tune

bench-panel: $(VENV)/.installed $(VENV)/.built $(VENV)/.with-bench ## many kinds of data beside scikit-learn, PyTorch, LightGBM; ARGS="--quick" for a tenth of the rows
	$(PY) bench/panel.py $(ARGS)

bench-cluster: $(VENV)/.installed $(VENV)/.built $(VENV)/.with-mpi ## a cluster of namespaces on this machine, as root; writes docs/speedup.md
	$(PY) bench/cluster.py $(ARGS)

bench-ablation: $(VENV)/.installed $(VENV)/.built $(VENV)/.with-mpi ## each mechanism switched off alone; as root; writes bench/results/ablation.md
	$(PY) bench/ablation.py $(ARGS)

lint: $(VENV)/.with-lint $(VENV)/.dependencies ## ruff, mypy, cython-lint, clang-format, zizmor (workflows)
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	PATH="$(abspath $(VENV))/bin:$$PATH" cython-lint asysvrg
	$(VENV)/bin/clang-format --dry-run -Werror $(KERNELS) tests/sanitize/*.[ch]
	$(VENV)/bin/zizmor --quiet --offline .github/workflows

# Warnings are errors. Pages of names that are gone would warn, so all are written anew. What examples print depends on no
# terminal, and on no data beside scikit-learn's.
docs: $(VENV)/.installed $(VENV)/.built $(VENV)/.with-docs $(VENV)/.with-mpi ## the site, in build/docs/html; runs the examples
	@rm -rf docs/api/*.rst $(BUILD)/docs/html
	PATH="$(abspath $(VENV))/bin:$$PATH" $(PY) -m sphinx -q -W --keep-going -b html -c docs -d $(BUILD)/docs/doctrees . $(BUILD)/docs/html
	$(PY) docs/check_links.py $(BUILD)/docs/html

docs-links: docs ## links of the site to other sites; names those that cannot be tried from here
	rm -f $(BUILD)/docs/links/output.json
	$(PY) -m sphinx -Q -b linkcheck -c docs -d $(BUILD)/docs/doctrees . $(BUILD)/docs/links || true
	$(PY) docs/check_links.py --others $(BUILD)/docs/links/output.json

sdist: $(VENV)/.builder $(VENV)/.with-dist ## build the source distribution in dist/, the same bytes each time
	$(PY) tools/wheels/sdist.py

WHEELS := $(addprefix $(VENV)/.,builder with-dist with-wheels)
wheels: $(WHEELS) ## build the wheels in dist/ and try them, as root, for half an hour; ARGS=manylinux-x86_64 for one
	$(PY) tools/wheels/everything.py $(ARGS)

wheel: $(WHEELS) ## build a wheel from dist/*.tar.gz, which is not tried; ARGS=windows-x86_64
	$(PY) tools/wheels/one.py $(ARGS)

clean: ## remove all build results and the virtual environment; keep results of benchmarks
	rm -rf $(VENV) $(BUILD) dist *.egg-info .pytest_cache bench/.pytest_cache .ruff_cache .mypy_cache .benchmarks .hypothesis demo.png demo
	rm -rf docs/gallery docs/api
	rm -f $(foreach ending,so c html,asysvrg/*/*.$(ending))
	find asysvrg bench tests -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help demo test test-all test-faults fuzz bench bench-suite bench-peers bench-tune bench-panel bench-cluster
.PHONY: bench-ablation lint docs docs-links sdist wheels wheel clean sanitize sanitize-memory sanitize-threads

# ---- The environment. A stamp in it stands for each finished step; a change of pyproject.toml starts it again. ----

$(VENV)/.created: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'asysvrg needs Python 3.11 or newer, as in: make PYTHON=python3.11 demo' >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# Installs the requirements that $(1), an expression over the table of pyproject.toml, lists.
TABLE := import tomllib; table = tomllib.load(open("pyproject.toml", "rb")); project = table["project"]
install = $(PY) -c '$(TABLE); print(*$(1), sep="\n")' > $@.txt && $(PIP) -r $@.txt && touch $@

$(VENV)/.with-%: $(VENV)/.created
	@echo "$(VENV): installing what $* needs"
	@$(call install,project["optional-dependencies"]["$*"])

$(VENV)/.builder: $(VENV)/.created
	@echo "$(VENV): installing what the build needs"
	@$(call install,table["build-system"]["requires"])

# After .builder, since two pips at once may damage a package that both want; beside .built, which needs the other core.
$(VENV)/.dependencies: $(VENV)/.builder
	@echo "$(VENV): installing what asysvrg and its figures need"
	@$(call install,project["dependencies"] + project["optional-dependencies"]["plot"])

# The build is in place, because an editable install is not rebuilt when a source changes. setuptools rebuilds if a
# source in `depends` has changed, but not if setup.py has.
KERNELS := $(wildcard csrc/*.[ch] csrc/*/*.inc csrc/*/*.c)
SOURCES := $(KERNELS) $(wildcard asysvrg/*/*.pyx asysvrg/*/*.pxd)
$(VENV)/.built: $(VENV)/.builder setup.py $(SOURCES)
	$(PY) setup.py --quiet build_ext --inplace $(if $(filter setup.py,$?),--force)
	@touch $@

$(VENV)/.installed: $(VENV)/.dependencies
	@echo "$(VENV): installing asysvrg"
	@ASYSVRG_BUILT=1 $(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

# ---- The kernels under sanitizers, without Python. CSRC=... BUILD=... to try other sources. ----

# QUICK=1, as in `make test`: fewer steps of each setting, which without -O1 take less time than -O1 takes to compile.
QUICK ?=
SANITIZED := $(BUILD)/sanitize$(if $(QUICK),-quick)
STEPS := 40
# -g1: reports name lines and functions. Debug information about variables takes a third of the compiler's time.
CHECKED = $(CC) -std=gnu11 -O1 -g1 -UNDEBUG -Wall -Wextra -Wno-psabi -DASV_VECTOR=64 -fopenmp-simd -I$(CSRC) -Itests/sanitize $(if $(QUICK),-DSTEPS=$(STEPS))
ADDRESS := $(if $(QUICK),-O0) -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
THREAD := -fsanitize=thread -pthread
HARNESS := $(wildcard $(CSRC)/*.[ch] $(CSRC)/kernels/*.inc tests/sanitize/*.[ch]) Makefile

sanitize: ## the kernels under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer
	@$(MAKE) --no-print-directory -j2 sanitize-memory sanitize-threads

sanitize-memory: $(SANITIZED)/memory
	$<

# Report every race, not only the first at an address. A report whose second stack is lost matches no suppression, so
# the history is as long as possible. ThreadSanitizer may not start with randomised addresses, hence setarch.
sanitize-threads: $(SANITIZED)/threads
	for mode in shared lockstep; do \
	    TSAN_OPTIONS="suppressions=tests/sanitize/$$mode.supp suppress_equal_addresses=0 history_size=7 $$TSAN_OPTIONS" \
	        $$(setarch "$$(uname -m)" -R true 2>/dev/null && echo setarch "$$(uname -m)" -R) $< $$mode || exit 1; \
	done

$(SANITIZED)/memory: $(addprefix $(SANITIZED)/address-,carved32.o carved64.o tiles.o memory.o)
	$(CHECKED) $(ADDRESS) $^ -lm -o $@

$(SANITIZED)/threads: $(addprefix $(SANITIZED)/thread-,float32.o float64.o tiles.o threads.o)
	$(CHECKED) $(THREAD) $^ -lm -o $@

# The harness multiplies matrices itself, and takes longer than the kernels without -O1.
$(SANITIZED)/address-memory.o: ADDRESS += -O1
$(SANITIZED)/address-memory.o: STEPS := 16

# Tile instructions are emulated in C: most processors lack them, and sanitizers do not check what they read.
$(SANITIZED)/address-tiles.o $(SANITIZED)/thread-tiles.o: CHECKED += -include tests/sanitize/emulated_tiles.h

$(SANITIZED)/address-%.o: tests/sanitize/%.c $(HARNESS) | $(SANITIZED)
	$(CHECKED) $(ADDRESS) -c $< -o $@

$(SANITIZED)/address-%.o: $(CSRC)/%.c $(HARNESS) | $(SANITIZED)
	$(CHECKED) $(ADDRESS) -c $< -o $@

$(SANITIZED)/thread-%.o: tests/sanitize/%.c $(HARNESS) | $(SANITIZED)
	$(CHECKED) $(THREAD) -c $< -o $@

$(SANITIZED)/thread-%.o: $(CSRC)/%.c $(HARNESS) | $(SANITIZED)
	$(CHECKED) $(THREAD) -c $< -o $@

$(SANITIZED):
	mkdir -p $@
