"""Show and Tell on Flickr8k with a frozen EfficientNet-Lite0, for two cores.

Paper: Vinyals et al. 2015, https://arxiv.org/abs/1411.4555.
Commands: docs/training.md, *Train on Flickr8k*; with self-critical training and
packed, `make pretrained`: the model that comes with the package.
Time and score on two cores: twelve epochs in 8 min 52 s with four evaluations;
on dev (1,000 images, here of 224 x 224 pixels) perplexity 15.56; with beam_size
5, length_normalization_factor 1 BLEU-1 to 4 .611 .430 .294 .200, METEOR .198,
ROUGE_L .451, CIDEr .472, 72.6 % distinct captions. Then 9,849 self-critical
steps in 17 min 41 s: likewise .653 .462 .314 .209, .197, .455, CIDEr .527,
61.1 %.
"""

from im2txt import configuration


def get_config() -> configuration.Config:
  """The whole image at 320 pixels, averaged weights, one word embedding."""
  return configuration.Config(
      model=configuration.ModelConfig(
          encoder='efficientnet_lite0',
          image_height=320,
          image_width=320,
          central_crop=False,
          vocab_size=0,
          batch_size=64,
          decoder_dropout_keep_prob=0.5,
          tie_embeddings=True,
          bias_from_counts=True,
      ),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=30000,
          optimizer='Adam',
          initial_learning_rate=1e-3,
          learning_rate_decay='cosine',
          cosine_final_fraction=0.02,
          num_epochs_per_decay=12.0,
          train_inception_learning_rate=1e-4,
          label_smoothing=0.1,
          ema_decay=0.998,
          save_interval_steps=1407,  # Three epochs.
      ),
  )
