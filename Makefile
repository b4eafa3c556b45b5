# Everything runs in .venv, which the first target that needs it sets up.
#   make demo   draws pictures, trains a captioner on them and shows captions;
#               the captioner of the package captions a few photos
#   make test   all tests but the long ones    make test-long   those
#   make test-offline   the tests of make test where there is no network;
#                       TESTS='-m long': the long ones
#   make lint   ruff, and mypy of the rooms without TensorFlow
#   make faults breaks what can break, and says what is lost
#   make lock   writes requirements.txt anew, after a change of dependencies in
#               pyproject.toml; UPGRADE=--upgrade takes the newest of all others
#   make licences   lists their licences    make audit   their known flaws
#   make bench  how fast captioning, training and building shards are
#   make pretrained FLICKR8K=folder   trains the captioner of the package: the
#               folder has Flicker8k_Dataset/ and the text files
#   make clean  removes the demo's folder

PYTHON ?= python3
# Which tests are run offline, and how.
TESTS := -n 2 --dist loadfile
BIN := .venv/bin
DEMO := demo
DEMO_STEPS := 600
PRETRAINED := runs/pretrained
DEMO_PHOTOS := astronaut.png camera.png chelsea.png coffee.png \
               motorcycle_left.png rocket.jpg  # In scikit-image.

.PHONY: demo test test-long test-offline lint faults lock licences audit bench \
        pretrained clean

.venv/installed: pyproject.toml requirements.txt
	@$(PYTHON) -c \
	  'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo 'Python 3.11 to 3.13 is needed: make PYTHON=python3.11 ...'; \
	    exit 1; }
	@$(PYTHON) -m venv .venv || \
	  { echo 'Could not make .venv; on Debian: apt-get install python3-venv'; \
	    exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --require-hashes --only-binary :all: --requirement requirements.txt
	$(BIN)/python -m pip install -qq --no-index --no-deps \
	  --no-build-isolation --editable .
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
	  --output_lines=$(DEMO)/captions.txt --output_jsonl=$(DEMO)/scenes.jsonl
	@head -n 20 $(DEMO)/captions.txt
	@echo '... all in $(DEMO)/captions.txt'
	photos=$$($(BIN)/python -c \
	  'import os, skimage.data as d; print(os.path.dirname(d.__file__))') && \
	  $(BIN)/im2txt caption --output_jsonl=$(DEMO)/photos.jsonl \
	  --output_lines=$(DEMO)/photos.txt \
	  $(patsubst %,"$$photos"/%,$(DEMO_PHOTOS))
	$(BIN)/python -m im2txt.draw_captions \
	  --output=$(DEMO)/contact_sheet.png \
	  $(DEMO)/photos.jsonl $(DEMO)/scenes.jsonl
	@echo 'the captions on a sheet: $(DEMO)/contact_sheet.png'
	$(BIN)/python -m data_prep.score_toy_captions --min_accuracy=0.8 \
	  --captions_file=$(DEMO)/captions.txt \
	  --scenes_file=$(DEMO)/scenes/annotations/scenes.json

test: .venv/installed
	$(BIN)/python -m pytest -q -rs -n 2 --dist loadfile

test-long: .venv/installed
	$(BIN)/python -m pytest -q -rs -m long

# All that a network name space without routes has is this machine.
test-offline: .venv/installed
	unshare --net --map-root-user sh -c 'ip link set lo up && \
	  exec $(BIN)/python -m pytest -q -rs $(TESTS)'

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/mypy

lock: .venv/installed
	$(BIN)/uv pip compile --quiet --universal --all-extras --generate-hashes \
	  --only-binary :all: --custom-compile-command 'make lock' $(UPGRADE) \
	  --output-file requirements.txt pyproject.toml
	$(MAKE) licences

licences: .venv/installed
	$(BIN)/python -m tools.licences

# It asks PyPI. Strict: what PyPI does not know of counts as unknown, not clean.
audit: .venv/installed
	$(BIN)/pip-audit --strict --disable-pip --require-hashes \
	  --requirement requirements.txt

bench: .venv/installed
	$(BIN)/python -m benchmarks.captioning
	$(BIN)/python -m benchmarks.captioning --encoder=efficientnet_lite0 \
	  --image_size=224 --vocab_size=2933
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.determinism --encoder=efficientnet_lite0 \
	  --image_size=224 --vocab_size=2933
	$(BIN)/python -m benchmarks.training_memory
	$(BIN)/python -m benchmarks.cluster
	$(BIN)/python -m benchmarks.data_prep

faults: .venv/installed
	$(BIN)/python tests/faults

pretrained: .venv/installed
	@test -d '$(FLICKR8K)' || \
	  { echo 'Where is Flickr8k? make pretrained FLICKR8K=folder'; exit 1; }
	$(BIN)/python -m data_prep.build_flickr8k_data --layout=image \
	  --caption_style=keras --min_word_count=5 \
	  --image_dir='$(FLICKR8K)/Flicker8k_Dataset' \
	  --captions_file='$(FLICKR8K)/Flickr8k.token.txt' \
	  --train_list='$(FLICKR8K)/Flickr_8k.trainImages.txt' \
	  --dev_list='$(FLICKR8K)/Flickr_8k.devImages.txt' \
	  --test_list='$(FLICKR8K)/Flickr_8k.testImages.txt' \
	  --output_dir=$(PRETRAINED)/shards
	$(BIN)/python -m data_prep.cache_features --augmentations=3 \
	  --config=configs/show_and_tell_flickr8k.py \
	  --input_file_pattern='$(PRETRAINED)/shards/*-of-?????' \
	  --output_dir=$(PRETRAINED)/features
	$(BIN)/python -m im2txt.train \
	  --config=configs/show_and_tell_flickr8k.py \
	  --config.training.best_metric=CIDEr \
	  --input_file_pattern='$(PRETRAINED)/features/train-*' \
	  --eval_file_pattern='$(PRETRAINED)/features/val-*' \
	  --train_dir=$(PRETRAINED)/cross_entropy --number_of_steps=5628
	$(BIN)/python -m im2txt.train --self_critical \
	  --init_checkpoint=$(PRETRAINED)/cross_entropy/best \
	  --input_file_pattern='$(PRETRAINED)/features/train-*' \
	  --eval_file_pattern='$(PRETRAINED)/features/val-*' \
	  --train_dir=$(PRETRAINED)/self_critical --number_of_steps=9849
	$(BIN)/python -m im2txt.pack_model \
	  --checkpoint_path=$(PRETRAINED)/self_critical/best \
	  --output_dir=$(PRETRAINED)/packed
	@echo 'To ship it: cp $(PRETRAINED)/packed/* im2txt/pretrained/,'
	@echo 'and its scores into im2txt/pretrained/MODEL_CARD.md'

clean:
	rm -rf $(DEMO)
