"""Show, Attend and Tell on Flickr8k with a frozen EfficientNet-Lite0.

Paper: Xu et al. 2015, https://arxiv.org/abs/1502.03044.
Commands: docs/models.md, *Train another decoder*; --number_of_steps=4690.
Time and score on two cores: ten epochs in 30 min with five evaluations, the
machine doing other work besides; on dev (1,000 images, here of 224 x 224
pixels) perplexity 16.99; with beam_size 5, length_normalization_factor 1 BLEU-1
to 4 .619 .441 .307 .211, METEOR .209, ROUGE_L .467, CIDEr .530, 88.4 % distinct
captions. With decoder_dropout_keep_prob .5 the best of the five was that of
step 2814, perplexity 16.84, CIDEr .528. With --config.model.tie_embeddings=true
and the 2,538 words of docs/data.md, 15.63 (fewer words), CIDEr .528, BLEU-4
.214, METEOR .209; chosen by --consensus_file_pattern of the training features
.577, .231, .209; after 3,600 self-critical steps .569, .217, .205, and chosen
.601, .227, .210.
"""

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
          decoder_dropout_keep_prob=0.4,
          bias_from_counts=True,
      ),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=30000,
          optimizer='Adam',
          initial_learning_rate=1e-3,
          learning_rate_decay='cosine',
          cosine_final_fraction=0.02,
          num_epochs_per_decay=10.0,
          label_smoothing=0.1,
          ema_decay=0.998,
          save_interval_steps=938,  # Two epochs.
      ),
  )
