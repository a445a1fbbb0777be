# Every target makes the environment it needs, once: `make test` works on a machine that has only Python and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RESULTS := results/quickstart
BENCHMARK := $(BIN)/python -m pml_proxyext.benchmark
export OMP_NUM_THREADS ?= 1

.PHONY: quickstart test nightly check docs bench tables clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps torchvision
	touch $@

quickstart: $(READY)  ## train a handful of losses on the embedded images; prints a table and the paths of its figures
	$(BENCHMARK) run --data glyphs --recipes untrained supcon proxy_anchor nir_proxy_anchor el_nivmf --seeds 0 --jobs 2 --results $(RESULTS)
	$(BENCHMARK) table --results $(RESULTS)
	$(BENCHMARK) plot --results $(RESULTS)

test: $(READY)  ## the test suite, in two processes
	$(BIN)/python -m pytest --numprocesses 2

nightly: $(READY)  ## the property tests with thousands of examples for each relation; an hour
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest --numprocesses 2 --timeout 3600 tests/properties

check: $(READY) docs  ## lint, spelling, types, and docs without warnings
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/codespell
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

bench: $(READY)  ## speed and memory against honest baselines
	$(BIN)/python -m benchmarks

RENDER := $(BENCHMARK) table --results docs/results
RESULTS_PAGE := --into docs/results.md
EXPERIMENT := --table --into docs/theory_experiments.md --figures docs/figures --results docs/results
TWO_VIEWS := --table --into docs/crossclr.md --figures docs/figures --results docs/results
ENSEMBLE := --table --into docs/abe.md --figures docs/figures --results docs/results
CODES := --table --into docs/dcvh.md --figures docs/figures --results docs/results
CROPS := --table --into docs/demi.md --figures docs/figures --results docs/results
GEOMETRY := --table --into docs/sgp_measured.md --figures docs/figures --results docs/results
GEOMETRIC := --table --into docs/geometric_view_measured.md --figures docs/figures --results docs/results
tables: $(READY)  ## render the committed results into README and docs
	$(RENDER)/glyphs --into README.md docs/results.md
	$(RENDER)/glyphs --kind differences $(RESULTS_PAGE)
	$(RENDER)/emoji $(RESULTS_PAGE)
	$(RENDER)/emoji --kind differences $(RESULTS_PAGE)
	$(RENDER)/search_glyphs --kind search $(RESULTS_PAGE)
	$(RENDER)/search_emoji --kind search $(RESULTS_PAGE)
	for kind in uncertainty uncertainty_kinds uncertainty_conditions; do \
	    $(RENDER)/glyphs --kind $$kind --into docs/uncertainty.md; done
	$(RENDER)/glyphs --into docs/nir.md --recipes $(foreach base,proxy_anchor proxy_nca soft_triple,$(base) nir_$(base) nir_$(base)_softplus nir_$(base)_exp)
	$(RENDER)/glyphs --into docs/nivmf.md --recipes el_nivmf el_nivmf_guided nivmf el_vmf b_vmf kl_vmf nivmf_l2 cosine normalized_softmax
	$(RENDER)/nir --into docs/nir.md --split validation
	$(RENDER)/nir_warm_up --into docs/nir.md --split validation
	for data in glyphs emoji; do \
	    $(RENDER)/$$data --kind differences --into docs/almn.md --recipes almn almn_normalized; \
	    $(RENDER)/search_npairs_$$data --kind search --into docs/almn.md --recipes npairs npairs_normalized; done
	$(RENDER)/npairs_emoji --into docs/almn.md
	$(RENDER)/search_emoji --into docs/almn.md --split validation --recipes almn almn_normalized
	$(BENCHMARK) plot --results docs/results/glyphs docs/results/emoji --figures docs/figures
	$(BIN)/python -m pml_proxyext.benchmark.published docs/papers.md
	$(BIN)/python examples/collapse_to_the_simplex.py $(EXPERIMENT)/collapse
	$(BIN)/python examples/label_noise.py $(EXPERIMENT)/label_noise
	$(BIN)/python examples/slack_of_cross_entropy.py $(EXPERIMENT)/cross_entropy_slack
	$(BIN)/python examples/information_on_gaussians.py --table --into docs/information_gaussians.md --figures docs/figures --results docs/results/information_gaussians
	$(BIN)/python examples/encoder_complexity.py $(GEOMETRIC)/encoder_complexity
	$(BIN)/python examples/transport_autoencoder.py $(GEOMETRIC)/transport_autoencoder
	$(BIN)/python examples/transport_regularizer.py search $(GEOMETRIC)/search_transport_regularizer
	$(BIN)/python examples/transport_regularizer.py $(GEOMETRIC)/transport_regularizer
	$(BIN)/python examples/wordnet_pairs.py --table --into docs/pairsupcon.md --figures docs/figures --results docs/results/wordnet_pairs
	$(BIN)/python examples/emoji_image_to_text.py search $(TWO_VIEWS)/search_emoji_text
	$(BIN)/python examples/emoji_image_to_text.py $(TWO_VIEWS)/emoji_text
	$(BIN)/python examples/emoji_codes.py search $(CODES)/search_emoji_codes
	$(BIN)/python examples/emoji_codes.py $(CODES)/emoji_codes
	$(BIN)/python examples/emoji_demi.py search $(CROPS)/search_emoji_demi
	$(BIN)/python examples/emoji_demi.py $(CROPS)/emoji_demi
	$(BIN)/python examples/cost_model.py --table --into docs/cost_model.md --figures docs/figures --results docs/results/cost_model
	$(BIN)/python examples/emoji_cameras.py --table --into docs/crossgan.md --figures docs/figures --results docs/results/emoji_cameras
	$(BIN)/python examples/emoji_ensemble.py search $(ENSEMBLE)/search_emoji_ensemble
	$(BIN)/python examples/emoji_ensemble.py $(ENSEMBLE)/emoji_ensemble
	$(BIN)/python examples/geometry_of_pictures.py $(GEOMETRY)/geometry_of_pictures
	$(BIN)/python examples/geometry_of_pictures.py matches --table --figures docs/figures --results docs/results/geometry_of_pictures_matches
	$(BIN)/python examples/geometry_of_clouds.py $(GEOMETRY)/geometry_of_clouds

clean:
	rm -rf $(VENV) build dist docs/_build docs/api docs/bounds *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
