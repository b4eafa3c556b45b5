r"""Show and Tell on drawn scenes, to be trained in minutes: `make demo`."""

from im2txt import configuration


def get_config() -> configuration.Config:
  """A small decoder on a small encoder that sees small pictures."""
  return configuration.Config(
      model=configuration.ModelConfig(
          encoder='efficientnet_lite0',
          image_height=160,
          image_width=160,
          vocab_size=0,
          batch_size=32,
          embedding_size=128,
          num_lstm_units=256,
          lstm_dropout_keep_prob=0.7,
      ),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=2400,
          optimizer='Adam',
          initial_learning_rate=2e-3,
          learning_rate_decay_factor=0.5,
          num_epochs_per_decay=3.0,
          seed=1,
      ),
  )
