r"""Merge: the image meets the sentence behind the LSTM.

Paper: Tanti et al. 2017, https://arxiv.org/abs/1708.02043, as Lamba's Keras
tutorial "Image Captioning with Keras" has it, on Flickr8k.
Shards: build_flickr8k_data --caption_style=clean --min_word_count=10.
Train with GloVe's vectors as they are, and stop before a third phase:
  python -m im2txt.train --config=configs/merge.py --number_of_steps=15000 \
    --config.model.word_vectors_file=glove.6B.200d.txt \
    --noconfig.model.train_word_vectors ...
Where this differs from the tutorial: a rare word is read as the unknown one,
there it is left out of its caption. Phases are epochs of batches of captions,
there of three and six images. Images seen in training are flipped at random;
and here as in all these configurations gradients are clipped.
"""

from im2txt import configuration


def get_config() -> configuration.Config:
  """The tutorial's numbers; its two phases are one staircase."""
  return configuration.Config(
      model=configuration.ModelConfig(
          encoder='inception_v3',
          decoder='merge',
          image_height=0,
          image_width=0,
          resize_ratio=1.0,
          distort_colors=False,
          vocab_size=0,
          batch_size=32,
          embedding_size=200,
          num_lstm_units=256,
          decoder_dropout_keep_prob=0.5,
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
