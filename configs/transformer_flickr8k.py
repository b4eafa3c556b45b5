"""The tutorial's Transformer on Flickr8k with a frozen EfficientNet-Lite0.

Paper: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
Commands: docs/models.md, *Train another decoder*; --number_of_steps=5000.
Time and score on two cores: ten epochs in 17 min 50 s with five evaluations,
after 9 min 20 s for the features; on dev (1,000 images, here of 224 x 224
pixels) perplexity 17.88; with beam_size 5, length_normalization_factor .7
BLEU-1 to 4 .629 .448 .315 .218, METEOR .198, ROUGE_L .455, CIDEr .519, 88.9 %
distinct captions; of 224 pixels, in training uncropped, CIDEr .500. First loss
5.69 nats; of 224 pixels 5.58, and 8.74 without bias_from_counts; ln V = 8.52.
"""

from im2txt import configuration, decoders


def get_config() -> configuration.Config:
  """A greater rate, warmed up, and averaged weights."""
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
          embedding_size=256,
          num_layers=2,
          num_heads=2,
          feed_forward_size=512,
          max_positions=50,
          decoder_dropout_keep_prob=0.5,
          bias_from_counts=True,
      ),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=6000,
          optimizer='Adam',
          initial_learning_rate=5e-4,
          warmup_steps=500,
          learning_rate_decay='cosine',
          cosine_final_fraction=0.02,
          num_epochs_per_decay=10.0,
          label_smoothing=0.1,
          ema_decay=0.998,
          save_interval_steps=1000,  # Two epochs.
      ),
  )
