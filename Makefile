# Everything runs in .venv, which the first target that needs it sets up.
#   make demo   draws pictures, trains a captioner on them and shows captions
#   make test   all tests but the long ones    make test-long   those
#   make lint   ruff
#   make bench  how fast captioning, training and building shards are
#   make clean  removes the demo's folder

PYTHON ?= python3
BIN := .venv/bin
DEMO := demo
DEMO_STEPS := 600

.PHONY: demo test test-long lint bench clean

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed: make PYTHON=python3.11 ...'; \
	    exit 1; }
	@$(PYTHON) -m venv .venv || \
	  { echo 'Could not make .venv; on Debian: apt-get install python3-venv'; \
	    exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: .venv/installed
	$(BIN)/python -m data_prep.build_toy_data --output_dir=$(DEMO)/scenes
	$(BIN)/python -m data_prep.build_coco_data --split=official \
	  --train_image_dir=$(DEMO)/scenes/train \
	  --train_captions_file=$(DEMO)/scenes/annotations/captions_train.json \
	  --val_image_dir=$(DEMO)/scenes/val \
	  --val_captions_file=$(DEMO)/scenes/annotations/captions_val.json \
	  --train_shards=4 --val_shards=1 --layout=image \
	  --output_dir=$(DEMO)/shards
	$(BIN)/python -m data_prep.cache_features --config=configs/demo.py \
	  --input_file_pattern='$(DEMO)/shards/*-of-?????' --augmentations=8 \
	  --output_dir=$(DEMO)/features
	$(BIN)/python -m im2txt.train --config=configs/demo.py \
	  --input_file_pattern='$(DEMO)/features/train-?????-of-00004' \
	  --train_dir=$(DEMO)/run --number_of_steps=$(DEMO_STEPS) \
	  --log_every_n_steps=50
	$(BIN)/python -m im2txt.evaluate --run_once \
	  --checkpoint_dir=$(DEMO)/run \
	  --input_file_pattern='$(DEMO)/features/val-?????-of-00001'
	$(BIN)/python -m im2txt.run_inference --checkpoint_path=$(DEMO)/run \
	  --input_files='$(DEMO)/scenes/val/*.jpg' \
	  --contact_sheet=$(DEMO)/contact_sheet.png > $(DEMO)/captions.txt
	@head -n 20 $(DEMO)/captions.txt
	@echo '... all in $(DEMO)/captions.txt; the sheet: $(DEMO)/contact_sheet.png'
	$(BIN)/python -m data_prep.score_toy_captions --min_accuracy=0.8 \
	  --captions_file=$(DEMO)/captions.txt \
	  --scenes_file=$(DEMO)/scenes/annotations/scenes.json

test: .venv/installed
	$(BIN)/python -m pytest -q -rs -n 2 --dist loadfile

test-long: .venv/installed
	$(BIN)/python -m pytest -q -rs -m long

lint: .venv/installed
	$(BIN)/ruff check .

bench: .venv/installed
	$(BIN)/python -m benchmarks.captioning
	$(BIN)/python -m benchmarks.captioning --encoder=efficientnet_lite0 \
	  --image_size=224 --vocab_size=2933
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.training_memory
	$(BIN)/python -m benchmarks.data_prep

clean:
	rm -rf $(DEMO)
