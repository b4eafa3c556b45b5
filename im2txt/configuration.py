"""Every number of a captioning system, in two records.

Names and defaults are im2txt's where it has them; fields of our own stand
behind them. A file of `configs/` fills these records in, a run folder keeps
them as `config.json`.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

from im2txt.files import atomic_files, file_system, json_files

CONFIG_FILE = 'config.json'


@dataclasses.dataclass(slots=True)
class ModelConfig:
  """The model and what it reads; `decoders` may add fields of their own."""

  # File pattern of sharded TFRecord files of SequenceExamples; several are
  # separated by commas. Without one the batch is placeholders, to be fed.
  input_file_pattern: str | None = None
  # 'jpeg' or 'png', as in im2txt; images are decoded by their content.
  image_format: str = 'jpeg'
  # Approximate number of records in a shard; the size of the shuffle.
  values_per_input_shard: int = 2300
  # Shards that the shuffle holds at the least.
  input_queue_capacity_factor: int = 2
  # Shards read at once.
  num_input_reader_threads: int = 1
  # Name of the input queue in TensorBoard (`queue` input only).
  shard_queue_name: str = 'filename_queue'
  # Context key of the encoded image in a record.
  image_feature_name: str = 'image/data'
  # Feature-list key of the caption's word ids in a record.
  caption_feature_name: str = 'image/caption_ids'
  # Number of outputs; at least the words of the vocabulary and one unknown
  # word. (im2txt's vocabulary has 11,520 words under its 12,000 outputs.)
  vocab_size: int = 12000
  # Threads that decode and distort images.
  num_preprocess_threads: int = 4
  # Images in a batch.
  batch_size: int = 32
  # File with the encoder's pretrained weights.
  inception_checkpoint_file: str | None = None
  # Pixels that the encoder sees; 0: as many as it was made for.
  image_height: int = 299
  image_width: int = 299
  # Variables of the decoder begin uniform in +- this.
  initializer_scale: float = 0.08
  # Width of word embeddings and of the embedded image; 0: of the word
  # vectors.
  embedding_size: int = 512
  # Units of the LSTM, or of the layer that is in its place.
  num_lstm_units: int = 512
  # Share of LSTM inputs and outputs kept in training; other decoders say what
  # theirs is of.
  lstm_dropout_keep_prob: float = 0.7

  # Fields that im2txt does not have.

  # A name of im2txt.encoders.ENCODERS.
  encoder: str = 'inception_v3'
  # A name of im2txt.decoders.DECODERS.
  decoder: str = 'show_and_tell'
  # Pixels to which an image is resized, over those that are cropped for the
  # encoder; im2txt's 346 over 299.
  resize_ratio: float = 346 / 299
  # Whether captioning sees the middle of the resized image, as in im2txt, or
  # the whole image.
  central_crop: bool = True
  # Whether training also distorts the colours.
  distort_colors: bool = True
  # 'tf_data', or 'queue' as in im2txt.
  input_pipeline: str = 'tf_data'
  # Whether training batches hold captions of about one length, so that little
  # of them is padding (`tf_data` input only).
  bucket_by_length: bool = True
  # Whether all captions of an image train in one batch, for which the encoder
  # runs once (shards of layout `image` and feature shards; in others a record
  # has one caption). batch_size and num_examples_per_epoch then count images.
  all_captions: bool = False
  # Of the products with the decoder's matrices: 'float32', or 'bfloat16' or
  # 'float16' where the machine gains from it. Variables and all else are
  # float32.
  compute_dtype: str = 'float32'
  # Share of pooled features kept, and weight decay, when the encoder is
  # trained (im2txt's Inception builder has them as defaults).
  encoder_dropout_keep_prob: float = 0.8
  encoder_weight_decay: float = 0.00004
  # File of word vectors in GloVe's text format, which word embeddings begin
  # with; words that it lacks begin at zero. None: all begin at random.
  word_vectors_file: str | None = None
  # Whether word embeddings are trained.
  train_word_vectors: bool = True
  # Whether the projection to the vocabulary is by the word embedding, which
  # must then be as wide as the decoder's last hidden layer.
  tie_embeddings: bool = False
  # Whether the output biases begin at the words' log frequencies. The start
  # marker and the unknown word are then never said, nor trained on.
  bias_from_counts: bool = False
  # Markers of the captions.
  start_word: str = '<S>'
  end_word: str = '</S>'
  unknown_word: str = '<UNK>'
  # Most words of a caption, both markers counted, for all captions of a batch
  # are filled up to the longest; 0: any number.
  max_caption_length: int = 500
  # What a bad record of the shards does: 'stop' the program, or 'skip', which
  # leaves it out and says so.
  bad_records: str = 'stop'

  def longest_caption(self) -> int:
    """Most words that the decoder can read of a caption; 0: any number."""
    return self.max_caption_length


@dataclasses.dataclass(slots=True)
class TrainingConfig:
  """How the model is trained."""

  # Image-caption pairs in an epoch of the learning-rate schedule.
  num_examples_per_epoch: int = 586363
  # 'SGD', 'Adam' or 'AdamW'.
  optimizer: str = 'SGD'
  # Learning rate of phase 1, the encoder frozen.
  initial_learning_rate: float = 2.0
  # Staircase: multiplies the rate each num_epochs_per_decay; 0: never.
  # Cosine: what is left of the rate after the first num_epochs_per_decay.
  learning_rate_decay_factor: float = 0.5
  num_epochs_per_decay: float = 8.0
  # Constant learning rate of phase 2, the encoder trained too.
  train_inception_learning_rate: float = 0.0005
  # Greatest global norm of the gradient.
  clip_gradients: float = 5.0
  # Newest checkpoints kept.
  max_checkpoints_to_keep: int = 5

  # Fields that im2txt does not have (slim.learning.train's defaults there).

  # Seconds between checkpoints.
  save_interval_secs: int = 600
  # Steps between summaries of numbers, and between those of images.
  save_summaries_steps: int = 100
  save_images_steps: int = 2000
  # Of all that is random in training: the same gives the same losses on the
  # same machine (`tf_data` input only). None: others each time.
  seed: int | None = None
  # Steps between checkpoints, instead of seconds; 0: go by the seconds.
  save_interval_steps: int = 0
  # How the rate of phase 1 falls: 'staircase', or 'cosine'.
  learning_rate_decay: str = 'staircase'
  # Steps over which the rate of phase 1 first rises from 0.
  warmup_steps: int = 0
  # AdamW: share of the rate by which each matrix shrinks at a step.
  weight_decay: float = 0.0
  # Multiplies the loss while the gradient is computed, which float16 needs.
  loss_scale: float = 1.0
  # Probability taken from the target word and spread over the vocabulary.
  label_smoothing: float = 0.0
  # Share that the weights' moving average keeps at each step, after n steps
  # (1 + n) / (10 + n) at the most; evaluation and captioning then use the
  # average. 0: there is none.
  ema_decay: float = 0.0
  # Share of the words read that the model drew itself, reached linearly over
  # so many epochs. 0: it reads the captions only.
  scheduled_sampling: float = 0.0
  scheduled_sampling_epochs: float = 10.0
  # Self-critical training (phase 3): constant learning rate, images in a
  # batch, captions drawn of each, and the share of the loss that is still the
  # cross-entropy of people's captions.
  self_critical_learning_rate: float = 0.0001
  self_critical_batch_size: int = 10
  self_critical_samples: int = 5
  self_critical_cross_entropy: float = 0.0
  # Evaluations without a better one after which training ends early; 0:
  # never. (Training evaluates if it is given --eval_file_pattern.)
  early_stopping_patience: int = 0
  # In a cluster: whether each step is one of all replicas, down the mean
  # gradient of their batches; otherwise each takes steps of its own.
  sync_replicas: bool = False
  # In a cluster: seconds that a step may take, or the way to the first one,
  # with the wait for processes that are being started again.
  replica_timeout_secs: int = 1800
  # What makes a checkpoint better than another: 'perplexity', or one of
  # im2txt.scoring.metrics.NAMES, for which evaluation captions the images.
  best_metric: str = 'perplexity'


@dataclasses.dataclass(slots=True)
class Config:
  """A captioning system, as a file of `configs/` returns it."""

  model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
  training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
  # The file's name, without .py; said by --config.
  name: str = ''


# Whole numbers that may be 0; all others count something.
_MAY_BE_ZERO = (
    'vocab_size', 'embedding_size', 'image_height', 'image_width',
    'save_interval_secs', 'save_interval_steps',
    'max_checkpoints_to_keep', 'warmup_steps', 'early_stopping_patience',
    'max_caption_length')


def check(config: Config) -> None:
  """Refuses numbers that nothing can be built with.

  Raises:
    ValueError: one is too small or too large.
  """
  for record in (config.model, config.training):
    for field in dataclasses.fields(record):
      value = getattr(record, field.name)
      least = 0 if field.name in _MAY_BE_ZERO else 1
      if field.type is int and value < least:
        raise ValueError(
            f'{field.name} is {value}; it must be at least {least}')
  for name in ('label_smoothing', 'ema_decay', 'scheduled_sampling',
               'self_critical_cross_entropy'):
    value = getattr(config.training, name)
    if not 0.0 <= value < 1.0:
      raise ValueError(f'{name} is {value}; it must be a share from 0 to 1, '
                       '1 not included')
  for name in ('loss_scale', 'scheduled_sampling_epochs', 'clip_gradients',
               'num_epochs_per_decay'):
    value = getattr(config.training, name)
    if not value > 0.0:
      raise ValueError(f'{name} is {value}; it must be above 0')
  for name in ('initial_learning_rate', 'train_inception_learning_rate',
               'self_critical_learning_rate', 'weight_decay'):
    value = getattr(config.training, name)
    if not value >= 0.0:
      raise ValueError(f'{name} is {value}; it must not be below 0')
  for name in ('lstm_dropout_keep_prob', 'encoder_dropout_keep_prob'):
    value = getattr(config.model, name)
    if not 0.0 < value <= 1.0:
      raise ValueError(f'{name} is {value}; it must be a share from 0 to 1, '
                       '0 not included')
  if config.training.self_critical_samples < 2:
    raise ValueError(
        f'self_critical_samples is {config.training.self_critical_samples}; '
        'captions are compared with each other, so it must be at least 2')
  if not config.model.resize_ratio >= 1.0:
    raise ValueError(f'resize_ratio is {config.model.resize_ratio}; it must '
                     'be at least 1')
  if config.model.tie_embeddings and not config.model.train_word_vectors:
    raise ValueError('tie_embeddings trains the word embedding, which '
                     'train_word_vectors keeps as it is; turn one of them off')
  if config.training.weight_decay and config.training.optimizer != 'AdamW':
    raise ValueError('weight_decay needs optimizer AdamW, not '
                     f'{config.training.optimizer}')


def choose(table: Mapping[str, Any], field: str, name: Any) -> Any:
  """What a field names.

  Raises:
    ValueError: the table does not have it.
  """
  if name not in list(table):  # A list, for what cannot be hashed.
    raise ValueError(f'{field} is {name!r}; it must be one of '
                     f'{", ".join(map(repr, table))}')
  return table[name]


def save(config: Config, folder: str) -> None:
  """Writes `config.json` into the folder, whole or not at all."""
  file_system.makedirs(folder)
  path = os.path.join(folder, CONFIG_FILE)
  with atomic_files.write(path) as f:
    json.dump(dataclasses.asdict(config), f, indent=2)
    f.write('\n')


def read(folder: str) -> dict[str, Any]:
  """Reads a run folder's `config.json` as plain values.

  Returns:
    The sections `model` and `training`, fields by name, and the `name`.

  Raises:
    OSError: there is none.
    ValueError: it is no JSON of this form.
  """
  path = os.path.join(folder, CONFIG_FILE)
  try:
    with file_system.open(path, encoding='utf-8') as f:
      sections = json_files.parse(f.read(), constants=True)
  except ValueError as error:  # No JSON, or no UTF-8.
    raise ValueError(f'{path} is no valid JSON: {error}') from None
  if (not isinstance(sections, dict)
      or sections.keys() - {'name'} != {'model', 'training'}
      or not isinstance(sections.setdefault('name', ''), str)
      or not all(isinstance(sections[name], dict)
                 for name in ('model', 'training'))):
    raise ValueError(f'{path} must have the sections "model" and "training"')
  return sections


def fill(record_class: type, fields: dict[str, Any], source: str) -> Any:
  """Makes a record of `record_class`.

  Args:
    record_class: one of the dataclasses above, or derived from one.
    fields: its fields by name; absent ones take their defaults.
    source: file named in errors.

  Raises:
    ValueError: an unknown field, or a value of another type.
  """
  known = {f.name: f for f in dataclasses.fields(record_class)}
  for name, value in fields.items():
    if name not in known:
      raise ValueError(
          f'{source}: {record_class.__name__} has no field {name!r}')
    wanted = known[name].type
    accepted = (int, float) if wanted is float else wanted
    if not isinstance(value, accepted) or (
        isinstance(value, bool) and wanted is not bool):
      raise ValueError(f'{source}: {name} must be {wanted}, not {value!r}')
  try:
    return record_class(**{
        name: float(value) if known[name].type is float else value
        for name, value in fields.items()})
  except OverflowError as error:
    raise ValueError(f'{source}: {error}') from None
