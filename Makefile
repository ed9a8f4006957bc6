# make run     start the app on http://127.0.0.1:7860 (the first time: make .venv and install what it needs)
# make test    run every test (the first time: the test tools and a Chromium too)
# make bench-viewer   how fast and how small the viewer is (the first time: the test tools and a Chromium)
# make bench-faults   do to real servers what may go wrong, and say what became of it
# make test-reference   compare the methods with published packages, which it installs
# make fuzz    malformed photos, broken files, captions of every script and wrong requests (docs/fuzzing.md)
# make test-proxy   deploy/nginx.conf before two replicas; needs nginx (Debian: apt-get install nginx)
# make test-versions   run every test with the lowest and with the newest versions that pyproject.toml admits
# make lock    write locks/ anew from requirements*.txt (make lock UPGRADE=1: with the newest versions)
# make licences   write docs/licences.md from the packages that are installed
# make audit   ask for known vulnerabilities of what is locked
# Variables: PYTHON (interpreter), PORT, TORCH_INDEX (package index to take torch from), T (tests to run),
#            FUZZ_SECONDS (of coverage-guided fuzzing), FUZZ (what else `python -m fuzz` takes),
#            JOBS (processes that run the tests side by side; 0: none, for a debugger).

PORT = 7860
T = tests
JOBS = 2
FUZZ_SECONDS = 600
FUZZ =
PY = .venv/bin/python
PICTURE = photographer
CAPTION = a photographer in a coat and his camera, with no dog
WORDS = photographer coat camera dog

.PHONY: run test fuzz test-reference test-proxy test-versions lint lock licences audit screenshots picture bench bench-faults bench-load bench-viewer clean

run:
	@scripts/setup run
	@exec env GRADIO_SERVER_PORT=$(PORT) $(PY) app.py

test:
	@scripts/setup test
	@$(PY) -m pytest --numprocesses $(JOBS) --dist loadfile --durations 25 $(T)

test-reference:
	@scripts/setup reference
	@$(PY) -m pytest tests/reference

fuzz:
	@scripts/setup fuzz
	@$(PY) -m fuzz --seconds $(FUZZ_SECONDS) $(FUZZ)

test-proxy:
	@scripts/setup test
	@PROXY_TESTS=1 $(PY) -m pytest tests/app/test_nginx.py

# One after the other, each to its end; the status is that of both.
test-versions:
	@scripts/setup test
	@status=0; for end in lowest newest; do \
	    $(PY) scripts/versions $$end && \
	    .venv-$$end/bin/python -m pytest -m "not pinned" --numprocesses $(JOBS) --dist loadfile $(T) || status=1; \
	done; exit $$status

lint:
	@scripts/setup test
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@.venv/bin/hadolint Dockerfile
	@.venv/bin/node scripts/types/check.js

lock:
	@scripts/lock $(if $(UPGRADE),--upgrade)

licences:
	@scripts/setup test
	@$(PY) scripts/licences

audit:
	@scripts/audit

screenshots:
	@scripts/setup test
	@CROSSVIZ_RECORD=1 $(PY) -m pytest tests/app

picture:
	@scripts/setup run
	@$(PY) -m crossviz explain assets/examples/$(PICTURE).jpg "$(CAPTION)" -o build/picture --words $(WORDS)
	@cp build/picture/figure.png docs/picture.png

bench:
	@scripts/setup run
	@$(PY) -m benchmarks.latency

bench-viewer:
	@scripts/setup test
	@$(PY) -m benchmarks.viewer_speed

bench-load:
	@scripts/setup run
	@$(PY) -m benchmarks.load

bench-faults:
	@scripts/setup run
	@$(PY) -m benchmarks.faults

clean:
	rm -rf .venv .venv-* scripts/types/node_modules build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .gradio tests/app/report
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
