from im2txt import configuration, decoders


def get_config() -> configuration.Config:
  return configuration.Config(
      model=decoders.CnnLstmConfig(
          encoder='resnet_v1_152',
          decoder='cnn_lstm',
          image_height=224,
          image_width=224,
          vocab_size=0,
          batch_size=128,
          embedding_size=256,
          num_lstm_units=512,
          lstm_dropout_keep_prob=0.5,
      ),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=414113,
          optimizer='Adam',
          initial_learning_rate=1e-3,
          learning_rate_decay_factor=0.0,
      ),
  )
