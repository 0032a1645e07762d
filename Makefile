# make demo   plays the whole story on this machine    make demo-stop   ends it   (another port: DEMO="--port 8600")
# make test   the whole test suite                     make bench       the benchmarks (BENCH=--quick: small)
.PHONY: demo demo-stop test check bench lock clean

demo:
	@tools/setup runtime
	@.venv/bin/callboard demo $(DEMO)

demo-stop:
	@.venv/bin/callboard demo --stop

test: check
	@.venv/bin/python -m pytest -n auto

check:
	@tools/setup dev
	@tools/check

bench:
	@tools/setup bench
	@.venv/bin/python benchmarks/run.py $(BENCH)

lock:
	@tools/lock

clean:
	rm -rf .venv .demo .pytest_cache .mypy_cache .ruff_cache
