from im2txt import configuration, decoders


def get_config() -> configuration.Config:
  return configuration.Config(
      model=decoders.ShowAttendTellConfig(
          encoder='inception_v3',
          decoder='show_attend_tell',
          vocab_size=0,
          batch_size=64,
          embedding_size=256,
          num_lstm_units=512,
          lstm_dropout_keep_prob=0.5,
      ),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=30000,
          optimizer='Adam',
          initial_learning_rate=1e-4,
          learning_rate_decay_factor=0.0,
      ),
  )
