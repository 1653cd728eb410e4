BIN = .venv/bin
# Where it is set, every import compiles anew, which costs a run seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test lint lock clean
.DEFAULT_GOAL = help

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

demo: ## show the whole journey of a notebook, in ./workspace
	@.ci/setup
	@$(BIN)/python examples/demo.py

test: ## check and test everything
	@.ci/setup test
	@$(MAKE) --no-print-directory lint
	@status=0; \
	$(BIN)/python -m pytest -m slow || [ $$? = 5 ] || status=1; \
	$(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadfile --no-loadscope-reorder || status=1; \
	exit $$status

lint: ## check format, style, types and the direction of imports
	@.ci/setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: ## bring .ci/constraints.txt up to date with pyproject.toml
	@.ci/setup
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--group test --group lint --group examples \
		--no-annotate --custom-compile-command 'make lock' \
		--output-file .ci/constraints.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--group pyproject.toml:servers --no-annotate --custom-compile-command 'make lock' \
		--output-file .ci/servers.txt

clean: ## remove what the others made, but for ./workspace
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
