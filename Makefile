# Two commands do all: `make demo` and `make test`. Each does the set-up that it needs.
.PHONY: demo test setup lint slow bench clean

demo: ; @scripts/setup all && scripts/demo
test: ; @scripts/setup all,dev && scripts/check
slow: ; @scripts/setup all,dev && .venv/bin/python -m pytest -m slow
setup: ; @scripts/setup all,dev
bench: ; @scripts/setup all,dev && .venv/bin/patchwords bench step --peers
lint: ; @scripts/setup all,dev && scripts/lint
clean: ; rm -rf .venv runs
