from im2txt import configuration, decoders


def get_config() -> configuration.Config:
  return configuration.Config(
      model=decoders.TransformerConfig(
          encoder='efficientnet_lite0',
          decoder='transformer',
          image_height=320,
          image_width=320,
          central_crop=False,
          vocab_size=0,
          all_captions=True,
          batch_size=12,
          embedding_size=384,
          num_layers=3,
          num_heads=6,
          feed_forward_size=1536,
          pre_norm=True,
          lstm_dropout_keep_prob=0.5,
          bias_from_counts=True,
      ),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=6000,
          optimizer='AdamW',
          initial_learning_rate=5e-4,
          learning_rate_decay='cosine',
          learning_rate_decay_factor=0.02,
          num_epochs_per_decay=8.0,
          warmup_steps=500,
          weight_decay=0.01,
          label_smoothing=0.1,
          ema_decay=0.998,
          save_interval_steps=1000,  # Two epochs.
      ),
  )
