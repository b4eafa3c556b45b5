r"""ResNet-152 and an LSTM, as PyTorch's COCO tutorial has them.

Source: Choi's image captioning of pytorch-tutorial, also "Hands-on Natural
Language Processing with PyTorch" (Packt), chapter 2; the model is Show and
Tell's, https://arxiv.org/abs/1411.4555, with a batch-normalised image.
Shards: build_coco_data --start_word='<start>' --end_word='<end>'
  --unknown_word='<unk>' (or with any other markers; they come with the shards).
Where this differs from the tutorial: padding needs no word of its own, for a
mask tells it from words. There the image's own step is trained to say
`<start>`; here nothing is asked of it. Pixels are brought to what slim's
weights were trained on: less ImageNet's mean, not over its deviation, which
belongs to PyTorch's weights. The linear layer before batch normalisation has
no bias, which would be lost in it.
"""

from im2txt import configuration, decoders


def get_config() -> configuration.Config:
  """Five epochs of COCO 2014's training captions are 16,177 steps."""
  return configuration.Config(
      model=decoders.CnnLstmConfig(
          encoder='resnet_v1_152',
          decoder='cnn_lstm',
          image_height=0,
          image_width=0,
          resize_ratio=256 / 224,
          central_crop=False,
          distort_colors=False,
          vocab_size=0,
          batch_size=128,
          embedding_size=256,
          num_lstm_units=512,
          num_lstm_layers=1,
          decoder_dropout_keep_prob=1.0,
      ),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=414113,
          optimizer='Adam',
          initial_learning_rate=1e-3,
          learning_rate_decay_factor=0.0,
      ),
  )
