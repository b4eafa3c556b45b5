"""Show, Attend and Tell on Flickr8k with a frozen EfficientNet-Lite0."""

from im2txt import configuration, decoders


def get_config() -> configuration.Config:
  """Dropout and the paper's regularisation against learning by heart."""
  return configuration.Config(
      model=decoders.ShowAttendTellConfig(
          encoder='efficientnet_lite0',
          decoder='show_attend_tell',
          image_height=320,
          image_width=320,
          central_crop=False,
          vocab_size=0,
          batch_size=64,
          embedding_size=512,
          num_lstm_units=512,
          attention_size=512,
          attention_regularization=0.1,
          lstm_dropout_keep_prob=0.5,
          bias_from_counts=True,
      ),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=30000,
          optimizer='Adam',
          initial_learning_rate=1e-3,
          learning_rate_decay='cosine',
          learning_rate_decay_factor=0.02,
          num_epochs_per_decay=10.0,
          label_smoothing=0.1,
          ema_decay=0.998,
          save_interval_steps=938,  # Two epochs.
      ),
  )
