BIN = .venv/bin
# Where it is set, every import compiles anew, which costs a run seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo panel pictures test lint lock clean
.DEFAULT_GOAL = help

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

demo: ## show the whole journey of a notebook, in ./workspace
	@.ci/setup
	@$(BIN)/python examples/demo.py

panel: ## build the panel and have .venv's JupyterLab show it
	@.ci/setup panel

pictures: ## take the README's picture of the panel anew, by its test in a browser
	@.ci/setup test
	rm -rf build/pictures && mkdir -p build/pictures
	MLOPS_NB_SHOTS=build/pictures $(BIN)/python -m pytest -q -n 0 tests/ui/test_panel.py -k rollback
	cp build/pictures/run.png docs/panel.png

test: ## check and test everything
	@.ci/setup test
	@$(MAKE) --no-print-directory lint
	@status=0; \
	$(BIN)/python -m pytest -m slow || [ $$? = 5 ] || status=1; \
	$(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadfile --no-loadscope-reorder || status=1; \
	[ ! -f .venv/.panel ] || (PATH="$$PWD/$(BIN):$$PATH" && cd labextension && jlpm test) || status=1; \
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
	rm -rf .venv build dist mlops_nb/labextension labextension/lib labextension/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
