# Each target is one command from a clean clone: it makes its own virtual environment, and builds again what changed.
PYTHON ?= python3
VENV ?= .venv
BUILD ?= build
CSRC ?= csrc
ifeq ($(origin CC),default)
CC = gcc
endif

PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet
export PIP_DISABLE_PIP_VERSION_CHECK = 1

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 15

demo: $(VENV)/.installed $(VENV)/.built $(VENV)/.with-plot ## train on digits, and on MNIST where it is found; draw demo.png
	$(PY) -m asysvrg.demo

TESTED := $(addprefix $(VENV)/.,installed built with-plot with-test with-mpi)
test: $(TESTED) ## the tests; ARGS="-m 'not slow'" for the short ones, ARGS="-k words" for some
	$(PY) -m pytest $(ARGS)

test-all: $(TESTED) ## the tests with all combinations of settings in the place of covering sets, and more repetitions
	$(PY) -m pytest --full $(ARGS)

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

bench-cluster: $(VENV)/.installed $(VENV)/.built $(VENV)/.with-mpi ## a cluster of namespaces on this machine, as root; writes docs/speedup.md
	$(PY) bench/cluster/speedup.py $(ARGS)

lint: $(VENV)/.with-lint ## ruff, cython-lint, clang-format
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	PATH="$(abspath $(VENV))/bin:$$PATH" cython-lint asysvrg
	$(VENV)/bin/clang-format --dry-run -Werror csrc/*.[ch] tests/sanitize/*.[ch]

dist: $(VENV)/.with-dist ## source distribution, and the wheel built from it, in dist/
	rm -rf dist
	$(PY) -m build

clean: ## remove all that was made, the virtual environment too; results of benchmarks stay
	rm -rf $(VENV) $(BUILD) dist *.egg-info .pytest_cache bench/.pytest_cache .ruff_cache .benchmarks .hypothesis demo.png
	rm -f $(foreach ending,so c html,asysvrg/*/*.$(ending))
	find asysvrg bench tests -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help demo test test-all test-faults fuzz bench bench-suite bench-peers bench-tune bench-cluster lint dist clean sanitize
.PHONY: sanitize-memory sanitize-threads

# ---- The environment. Stamps in it say what has been done; a change of pyproject.toml starts it afresh. ----

$(VENV)/.created: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'asysvrg needs Python 3.11 or newer, as in: make PYTHON=python3.11 $(MAKECMDGOALS)' >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

LISTED := import sys, tomllib; t = tomllib.load(open("pyproject.toml", "rb"))
$(VENV)/.with-%: $(VENV)/.created
	@echo "$(VENV): installing what $* needs"
	@$(PY) -c '$(LISTED); print(*t["project"]["optional-dependencies"]["$*"], sep="\n")' > $(VENV)/$*.txt
	@$(PIP) -r $(VENV)/$*.txt
	@touch $@

$(VENV)/.builder: $(VENV)/.created
	@echo "$(VENV): installing what the build needs"
	@$(PY) -c '$(LISTED); print(*t["build-system"]["requires"], sep="\n")' > $(VENV)/builder.txt
	@$(PIP) -r $(VENV)/builder.txt
	@touch $@

# In place, because nothing rebuilds an editable install by itself. setuptools does not compare setup.py.
SOURCES := $(wildcard csrc/*.[ch] asysvrg/*/*.pyx asysvrg/*/*.pxd)
$(VENV)/.built: $(VENV)/.builder setup.py $(SOURCES)
	$(PY) setup.py --quiet build_ext --inplace $(if $(filter setup.py,$?),--force)
	@touch $@

$(VENV)/.installed: $(VENV)/.created | $(VENV)/.built
	@echo "$(VENV): installing asysvrg"
	@ASYSVRG_BUILT=1 $(PIP) --no-build-isolation --editable .
	@touch $@

# ---- The kernels under sanitizers, without Python. CSRC=... BUILD=... to try other sources. ----

SANITIZED := $(BUILD)/sanitize
# -g1: reports name lines and functions; to keep track of variables takes a third of the compiler's time.
CHECKED = $(CC) -std=gnu11 -O1 -g1 -UNDEBUG -Wall -Wextra -Wno-psabi -DASV_NO_CLONES -fopenmp-simd -I$(CSRC) -Itests/sanitize
ADDRESS := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
THREAD := -fsanitize=thread -pthread
HARNESS := $(wildcard $(CSRC)/*.[ch] tests/sanitize/*.[ch]) Makefile

sanitize: ## the kernels under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer
	@$(MAKE) --no-print-directory -j2 sanitize-memory sanitize-threads

sanitize-memory: $(SANITIZED)/memory
	$<

# Each report counts, not only the first one at an address; the longest history, since a report whose second stack is
# lost matches no suppression. ThreadSanitizer may not start where addresses are randomised, hence setarch.
sanitize-threads: $(SANITIZED)/threads
	for mode in apart team; do \
	    TSAN_OPTIONS="suppressions=tests/sanitize/$$mode.supp suppress_equal_addresses=0 history_size=7 $$TSAN_OPTIONS" \
	        $$(setarch "$$(uname -m)" -R true 2>/dev/null && echo setarch "$$(uname -m)" -R) $< $$mode || exit 1; \
	done

$(SANITIZED)/memory: $(addprefix $(SANITIZED)/address-,carved32.o carved64.o tiles.o memory.o)
	$(CHECKED) $(ADDRESS) $^ -lm -o $@

$(SANITIZED)/threads: $(addprefix $(SANITIZED)/thread-,float32.o float64.o tiles.o threads.o)
	$(CHECKED) $(THREAD) $^ -lm -o $@

# Instructions of tiles in C: other processors have none, and where there are any no sanitizer looks at what they read.
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
