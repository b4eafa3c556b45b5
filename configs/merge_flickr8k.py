"""The merge model on Flickr8k with a frozen EfficientNet-Lite0.

Paper: Tanti et al. 2017, https://arxiv.org/abs/1708.02043.
Commands: docs/models.md, *Train another decoder*; --number_of_steps=7504.
Time and score on two cores: eight epochs in 8 min 18 s with four evaluations;
on dev (1,000 images, here of 224 x 224 pixels) at step 3752 perplexity 18.36;
with beam_size 5, length_normalization_factor 1 BLEU-1 to 4 .609 .425 .285 .191,
METEOR .195, ROUGE_L .449, CIDEr .473, 68.3 % distinct captions. On captions
cleaned as merge.py's, scored against uncleaned ones, CIDEr .394 (labels as they
are, eight epochs and four at a tenth of the rate).
"""

from im2txt import configuration


def get_config() -> configuration.Config:
  """The two phases of merge.py, and averaged weights."""
  return configuration.Config(
      model=configuration.ModelConfig(
          encoder='efficientnet_lite0',
          decoder='merge',
          image_height=320,
          image_width=320,
          central_crop=False,
          vocab_size=0,
          batch_size=32,
          embedding_size=200,
          num_lstm_units=256,
          decoder_dropout_keep_prob=0.5,
          bias_from_counts=True,
      ),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=30000,
          optimizer='Adam',
          initial_learning_rate=1e-3,
          learning_rate_decay_factor=0.1,
          num_epochs_per_decay=6.0,
          label_smoothing=0.1,
          ema_decay=0.998,
          save_interval_steps=1876,  # Two epochs.
      ),
  )
