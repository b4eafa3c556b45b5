r"""Merge: the picture meets the sentence behind the LSTM, with GloVe's vectors.

Paper: Tanti et al. 2017, https://arxiv.org/abs/1708.02043, as Lamba's Keras
tutorial "Image Captioning with Keras" has it, on Flickr8k.
Shards: build_flickr8k_data --caption_style=clean --min_word_count=10.
"""

from im2txt import configuration


def get_config() -> configuration.Config:
  """The tutorial's numbers; its two phases are one staircase."""
  return configuration.Config(
      model=configuration.ModelConfig(
          encoder='inception_v3',
          decoder='merge',
          vocab_size=0,
          batch_size=32,
          embedding_size=200,
          num_lstm_units=256,
          lstm_dropout_keep_prob=0.5,
          # Words that are not in the vocabulary are never said, as there.
          bias_from_counts=True,
      ),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=30000,
          optimizer='Adam',
          initial_learning_rate=1e-3,
          learning_rate_decay_factor=0.1,
          num_epochs_per_decay=8.0,
          save_interval_steps=938,  # An epoch.
      ),
  )
