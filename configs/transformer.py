r"""A Transformer decoder over 49 regions, as in TensorFlow's tutorial.

Paper: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, as TensorFlow's
tutorial "Image captioning with visual attention" (the Transformer one, from
2022) has it, on Flickr8k.
Shards: build_flickr8k_data --caption_style=keras --min_word_count=1
  --max_words=5000.
Where this differs from the tutorial: its heads are 256 wide each (Keras's
`key_dim` is a head's width); here the heads share the 256 units, as in the
paper's section 3.2.2. Variances are normalised with 1e-6 added, there with
Keras's 1e-3. Images are flipped at random.
"""

from im2txt import configuration, decoders


def get_config() -> configuration.Config:
  """The tutorial's numbers; give --eval_file_pattern, for the early end."""
  return configuration.Config(
      model=decoders.TransformerConfig(
          encoder='mobilenet_v3_small',
          decoder='transformer',
          image_height=0,
          image_width=0,
          resize_ratio=1.0,
          distort_colors=False,
          vocab_size=0,
          batch_size=32,
          embedding_size=256,
          num_layers=2,
          num_heads=2,
          feed_forward_size=512,
          max_positions=50,
          decoder_dropout_keep_prob=0.5,
          bias_from_counts=True,
      ),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=30000,
          optimizer='Adam',
          initial_learning_rate=1e-4,
          learning_rate_decay_factor=0.0,
          save_interval_steps=938,  # An epoch.
          early_stopping_patience=5,
      ),
  )
