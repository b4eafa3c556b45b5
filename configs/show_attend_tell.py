r"""Bahdanau attention over 64 regions and a GRU, as in TensorFlow's tutorial.

Paper: Xu et al. 2015, https://arxiv.org/abs/1502.03044, as TensorFlow's
tutorial "Image captioning with visual attention" (the GRU one, to 2022) has
it.
Shards: build_coco_data --caption_style=keras --min_word_count=1
  --max_words=5000 --max_pairs=30000 --split=random (80/20 by image).
Where this differs from the tutorial: the loss is the mean over real words;
there it is divided by padding too. Images are flipped at random. Dropout,
`cell='lstm'` and `attention_regularization` (the paper's) are options.
"""

from im2txt import configuration, decoders


def get_config() -> configuration.Config:
  """The tutorial's numbers; 24,000 of its 30,000 captions train."""
  return configuration.Config(
      model=decoders.ShowAttendTellConfig(
          encoder='inception_v3',
          decoder='show_attend_tell',
          image_height=0,
          image_width=0,
          resize_ratio=1.0,
          distort_colors=False,
          vocab_size=0,
          batch_size=64,
          embedding_size=256,
          num_lstm_units=512,
          attention_size=512,
          decoder_dropout_keep_prob=1.0,
      ),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=24000,
          optimizer='Adam',
          initial_learning_rate=1e-4,
          learning_rate_decay_factor=0.0,
      ),
  )
