from im2txt import configuration


def get_config() -> configuration.Config:
  return configuration.Config(
      model=configuration.ModelConfig(
          encoder='inception_v3',
          decoder='merge',
          vocab_size=0,
          batch_size=32,
          embedding_size=200,
          num_lstm_units=256,
          lstm_dropout_keep_prob=0.5,
      ),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=30000,
          optimizer='Adam',
          initial_learning_rate=1e-3,
          learning_rate_decay_factor=0.1,
          num_epochs_per_decay=10.0,
          save_interval_steps=938,  # An epoch.
      ),
  )
