# make demo   plays the whole story on this machine    make demo-stop   ends it   (another port: DEMO="--port 8600")
# make test   the whole test suite                     make bench       the benchmarks (BENCH=--quick: small)
# VENV names another environment than .venv, PYTHON the Python that it is made with.
VENV ?= .venv
export VENV
.PHONY: demo demo-stop test check bench lock clean

demo:
	@tools/setup runtime
	@$(VENV)/bin/callboard demo $(DEMO)

demo-stop:
	@$(VENV)/bin/callboard demo --stop

test: check
	@$(VENV)/bin/python -m pytest -n auto

check:
	@tools/setup dev
	@tools/check

bench:
	@tools/setup bench
	@$(VENV)/bin/python benchmarks/run.py $(BENCH)

lock:
	@tools/lock

clean:
	rm -rf $(VENV) .venvs .demo .pytest_cache .mypy_cache .ruff_cache
