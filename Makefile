# The README's two commands, `make quickstart` and `make test`, and what they are made of.
# Everything is done once: a second call goes on where the first one was, or has nothing to do.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# Versions that were tested; `make install CONSTRAINTS=` takes the newest.
CONSTRAINTS ?= constraints.txt

# The quick start's size; CI shrinks it.
IMAGES ?= 2500
VAL_IMAGES ?= 300
STEPS ?= 4000

DATA := data/quickstart
RUN := runs/quickstart

.PHONY: install quickstart prepare trained summary fast test lint clean-quickstart

install: $(VENV)/installed

$(VENV)/installed: requirements.txt dev-requirements.txt $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install $(CONSTRAINTS:%=--constraint %) -r requirements.txt -r dev-requirements.txt
	touch $@

quickstart: install prepare trained summary

# Each of these skips what is already there.
prepare: install
	$(BIN)/python -m clevr_prep.synthetic $(DATA)/clevr --train $(IMAGES) --val $(VAL_IMAGES) \
		--test 0 --max-objects 6 --max-hops 0
	$(BIN)/python clevr_prep/data/extract_resnet101_c4.py --backbone cellnet \
		--data-dir $(DATA)/clevr --out $(DATA)/features/cellnet
	$(BIN)/python clevr_prep/data/get_ground_truth_layout.py --data-dir $(DATA)/clevr
	$(BIN)/python clevr_prep/data/build_clevr_imdb.py --data-dir $(DATA)/clevr --out $(DATA)/imdb

# Goes on where an interrupted or killed run was; with other STEPS it is another run.
trained: prepare
	$(BIN)/python train.py configs/quickstart.yaml --resume auto TRAIN.MAX_ITER $(STEPS)

summary: trained
	$(BIN)/python test.py configs/quickstart.yaml $(RUN)/last.ckpt

# A file's tests share what they prepare.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

# A little of every room, in two minutes on two cores.
fast: install
	$(PYTEST) -m "not slow"

test: install
	$(PYTEST)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo

clean-quickstart:
	rm -rf $(DATA) $(RUN) results/quickstart
