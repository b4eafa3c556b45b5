from im2txt import configuration, decoders


def get_config() -> configuration.Config:
  return configuration.Config(
      model=decoders.TransformerConfig(
          encoder='mobilenet_v3_small',
          decoder='transformer',
          image_height=224,
          image_width=224,
          vocab_size=0,
          batch_size=32,
          embedding_size=256,
          lstm_dropout_keep_prob=0.5,
      ),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=30000,
          optimizer='Adam',
          initial_learning_rate=1e-4,
          learning_rate_decay_factor=0.0,
      ),
  )
