r"""The plain Show and Tell on Flickr8k, a baseline: nothing but LSTM and Adam.

Paper: Vinyals et al. 2015, https://arxiv.org/abs/1411.4555.
Commands (shards: docs/data.md, *Build shards of Flickr8k*, without
--caption_style and --min_word_count, into plain_shards):
  python -m data_prep.cache_features \
    --config=configs/show_and_tell_plain_flickr8k.py \
    --input_file_pattern='plain_shards/*-of-?????' \
    --output_dir=plain_features
  python -m im2txt.train --config=configs/show_and_tell_plain_flickr8k.py \
    --input_file_pattern='plain_features/train-*' \
    --eval_file_pattern='plain_features/val-*' --train_dir=runs/plain \
    --number_of_steps=4690 --config.training.best_metric=CIDEr
Time and score on two cores: five epochs in 11 min, shards, features and scores
included; on dev (1,000 images) perplexity 14.59, BLEU-1 to 4 .574 .380 .243
.158, METEOR .168, ROUGE_L .406, CIDEr .341, 38.8 % distinct captions. Evaluated
by perplexity only 9 min 43 s. On image shards, 20 to 50 captions a second:
perplexity 14.47. Images of 224 x 224 pixels, not Flickr's own sizes.
"""

from im2txt import configuration


def get_config() -> configuration.Config:
  """A small encoder, Adam, and the vocabulary's own size."""
  return configuration.Config(
      model=configuration.ModelConfig(
          encoder='efficientnet_lite0',
          image_height=224,
          image_width=224,
          vocab_size=0,
          batch_size=32,
          decoder_dropout_keep_prob=0.5,
      ),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=30000,
          optimizer='Adam',
          initial_learning_rate=1e-3,
          learning_rate_decay_factor=0.5,
          num_epochs_per_decay=3.0,
          train_inception_learning_rate=1e-4,
          save_interval_steps=938,  # An epoch.
      ),
  )
