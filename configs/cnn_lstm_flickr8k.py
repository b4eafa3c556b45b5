"""CNN-LSTM on Flickr8k with a frozen EfficientNet-Lite0, for two cores.

Paper: Vinyals et al. 2015, https://arxiv.org/abs/1411.4555.
Commands: docs/models.md, *Train another decoder*; --number_of_steps=7035.
Time and score on two cores: fifteen epochs in 23 min 41 s with five
evaluations; on dev (1,000 images, here of 224 x 224 pixels) perplexity 17.12;
with beam_size 5, length_normalization_factor 1 BLEU-1 to 4 .616 .434 .296 .198,
METEOR .197, ROUGE_L .452, CIDEr .480, 72.7 % distinct captions.
"""

from im2txt import configuration, decoders


def get_config() -> configuration.Config:
  """Dropout, which five epochs of COCO do without, and averaged weights."""
  return configuration.Config(
      model=decoders.CnnLstmConfig(
          encoder='efficientnet_lite0',
          decoder='cnn_lstm',
          image_height=320,
          image_width=320,
          central_crop=False,
          vocab_size=0,
          batch_size=64,
          embedding_size=256,
          num_lstm_units=512,
          num_lstm_layers=1,
          decoder_dropout_keep_prob=0.5,
          bias_from_counts=True,
      ),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=30000,
          optimizer='Adam',
          initial_learning_rate=1e-3,
          learning_rate_decay='cosine',
          cosine_final_fraction=0.02,
          num_epochs_per_decay=15.0,
          label_smoothing=0.1,
          ema_decay=0.998,
          save_interval_steps=1407,  # Three epochs.
      ),
  )
