"""Every number of a captioning system, in two frozen records.

Names and defaults are im2txt's where it has them; fields of our own follow
them. A file of `configs/` fills these records in, `resolve` makes the final
ones, and a run folder keeps them as `config.json`.

An example is an image with the captions that train together with it: one
caption, or with `all_captions` all that the image has.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar, dataclass_transform

from im2txt import log_once
from im2txt.files import atomic_files, file_system, json_files

CONFIG_FILE = 'config.json'

# Older names of fields and their names of today; None: the field is no more.
# Files and flags may still use them. `learning_rate_decay_factor` was also
# what `cosine_final_fraction` is.
LEGACY_FIELDS: Mapping[str, str | None] = {
    'image_format': None,
    'lstm_dropout_keep_prob': 'decoder_dropout_keep_prob',
    'max_caption_length': 'max_sequence_length',
}

# Fields of the model that are paths, or comma-separated patterns of such.
_PATHS = ('input_file_pattern', 'inception_checkpoint_file',
          'word_vectors_file')

_T = TypeVar('_T')


def rename_legacy(fields: Mapping[str, Any], source: str) -> dict[str, Any]:
  """Give fields with older names the names of today.

  Args:
    fields: by name; where a field has both names, the older one counts.
    source: where they were found, for the warning.
  """
  said = []
  renamed = dict(fields)
  for old in fields.keys() & LEGACY_FIELDS.keys():
    new = LEGACY_FIELDS[old]
    value = renamed.pop(old)
    if new:
      renamed[new] = value
    said.append(f'{old} is {new} now' if new else f'{old} has no effect')
  if (renamed.get('learning_rate_decay') == 'cosine'
      and 'learning_rate_decay_factor' in renamed
      and 'cosine_final_fraction' not in renamed):
    # A factor below 0 counted as 0.
    renamed['cosine_final_fraction'] = max(
        0.0, renamed.pop('learning_rate_decay_factor'))
    said.append('learning_rate_decay_factor of learning_rate_decay cosine is '
                'cosine_final_fraction now')
  if said:
    log_once.warn(f'{source}: {"; ".join(sorted(said))}')
  return renamed


@dataclass_transform(frozen_default=True)
def record(cls: type[_T]) -> type[_T]:
  """Make a frozen dataclass that takes its fields by older names, too."""
  cls = dataclasses.dataclass(frozen=True)(cls)
  init = cls.__init__

  @functools.wraps(init)
  def __init__(self, *args, **fields):
    init(self, *args, **rename_legacy(fields, cls.__name__))

  cls.__init__ = __init__
  return cls


class Limit(NamedTuple):
  """What the values of a field must be."""

  allows: Callable[[float], bool]
  description: str  # Follows the words 'it must be'.


def _limited(default: Any, allows: Callable[[float], bool],
             description: str) -> Any:
  return dataclasses.field(
      default=default, metadata={'limit': Limit(allows, description)})


def at_least(least: float, default: float) -> Any:
  """Make a field of numbers from `least` on."""
  return _limited(default, lambda value: value >= least, f'at least {least}')


def above(bound: float, default: float) -> Any:
  """Make a field of numbers above `bound`."""
  return _limited(default, lambda value: value > bound, f'above {bound}')


def share(default: float) -> Any:
  """Make a field of numbers from 0 to 1, without 1."""
  return _limited(default, lambda value: 0.0 <= value < 1.0,
                  'a share from 0 to 1, 1 not included')


def share_kept(default: float) -> Any:
  """Make a field of numbers from 0 to 1, without 0."""
  return _limited(default, lambda value: 0.0 < value <= 1.0,
                  'a share from 0 to 1, 0 not included')


@record
class ModelConfig:
  """The model and how it reads; `decoders` may add fields of their own."""

  # Pattern of the training shards, sharded TFRecord files of SequenceExamples;
  # several are separated by commas. Commands and `ShowAndTellModel` find the
  # shards by it; all else is given `inputs.shards.Shards`.
  input_file_pattern: str | None = None
  # Approximate number of records in a shard; the size of the shuffle.
  values_per_input_shard: int = at_least(1, 2300)
  # Shards that the shuffle holds at the least.
  input_queue_capacity_factor: int = at_least(1, 2)
  # Shards read at once.
  num_input_reader_threads: int = at_least(1, 1)
  # Name of the input queue in TensorBoard (`queue` input only).
  shard_queue_name: str = 'filename_queue'
  # Context key of the encoded image in a record.
  image_feature_name: str = 'image/data'
  # Feature-list key of the caption's word ids in a record.
  caption_feature_name: str = 'image/caption_ids'
  # Number of outputs; at least the words of the vocabulary and one unknown
  # word. (im2txt's vocabulary has 11,520 words under its 12,000 outputs.)
  vocab_size: int = at_least(0, 12000)
  # Threads that decode and distort images.
  num_preprocess_threads: int = at_least(1, 4)
  # Examples in a batch; of each the encoder sees the image once.
  batch_size: int = at_least(1, 32)
  # File with the encoder's pretrained weights.
  inception_checkpoint_file: str | None = None
  # Pixels that the encoder sees; 0: as many as it was made for.
  image_height: int = at_least(0, 299)
  image_width: int = at_least(0, 299)
  # Variables of the decoder begin uniform in +- this.
  initializer_scale: float = 0.08
  # Width of word embeddings and of the embedded image; 0: of the word
  # vectors.
  embedding_size: int = at_least(0, 512)
  # Units of the LSTM, or of the layer that is in its place.
  num_lstm_units: int = at_least(1, 512)
  # Share kept by the decoder's dropout in training: of LSTM inputs and outputs;
  # other decoders say where theirs is.
  decoder_dropout_keep_prob: float = share_kept(0.7)

  # Fields that im2txt does not have.

  # A name of im2txt.encoders.ENCODERS.
  encoder: str = 'inception_v3'
  # A name of im2txt.decoders.DECODERS.
  decoder: str = 'show_and_tell'
  # Pixels to which an image is resized, over those that are cropped for the
  # encoder; im2txt's 346 over 299.
  resize_ratio: float = at_least(1, 346 / 299)
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
  # Whether an example is an image with all its captions, for which the encoder
  # runs once (shards of layout `image` and feature shards; in others a record
  # has one caption), or with one of them.
  all_captions: bool = False
  # Of the products with the decoder's matrices: 'float32', or 'bfloat16' or
  # 'float16' where the machine gains from it. Variables and all else are
  # float32.
  compute_dtype: str = 'float32'
  # Share of pooled features kept, and weight decay, when the encoder is
  # trained (im2txt's Inception builder has them as defaults).
  encoder_dropout_keep_prob: float = share_kept(0.8)
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
  # Most words of a caption that is read, both markers counted, for all captions
  # of a batch are padded to the longest; 0: any number. (The longest caption
  # that a search makes is the flag --max_caption_length.)
  max_sequence_length: int = at_least(0, 500)
  # What a bad record of the shards does: 'stop' the program, or 'skip', which
  # leaves it out with a warning.
  bad_records: str = 'stop'

  def longest_caption(self) -> int:
    """Return the most words that a caption may have; 0: any number."""
    return self.max_sequence_length


@record
class TrainingConfig:
  """How the model is trained."""

  # Examples in an epoch of the learning-rate schedule.
  num_examples_per_epoch: int = at_least(1, 586363)
  # 'SGD', 'Adam' or 'AdamW'.
  optimizer: str = 'SGD'
  # Learning rate of phase 1, the encoder frozen.
  initial_learning_rate: float = at_least(0, 2.0)
  # Staircase: multiplies the rate each num_epochs_per_decay; 0: never.
  learning_rate_decay_factor: float = 0.5
  num_epochs_per_decay: float = above(0, 8.0)
  # Constant learning rate of phase 2, the encoder trained too.
  train_inception_learning_rate: float = at_least(0, 0.0005)
  # Greatest global norm of the gradient.
  clip_gradients: float = above(0, 5.0)
  # Newest checkpoints kept.
  max_checkpoints_to_keep: int = at_least(0, 5)

  # Fields that im2txt does not have (slim.learning.train's defaults there).

  # Seconds between checkpoints.
  save_interval_secs: int = at_least(0, 600)
  # Steps between summaries of numbers, and between those of images.
  save_summaries_steps: int = at_least(1, 100)
  save_images_steps: int = at_least(1, 2000)
  # Of all that is random in training: the same gives the same losses on the
  # same machine (`tf_data` input only). None: others each time.
  seed: int | None = None
  # Steps between checkpoints, instead of seconds; 0: go by the seconds.
  save_interval_steps: int = at_least(0, 0)
  # How the rate of phase 1 falls: 'staircase', or 'cosine'.
  learning_rate_decay: str = 'staircase'
  # Cosine: share of the rate that is left after num_epochs_per_decay.
  cosine_final_fraction: float = at_least(0, 0.5)
  # Steps over which the rate of phase 1 first rises from 0.
  warmup_steps: int = at_least(0, 0)
  # AdamW: share of the rate by which each matrix shrinks at a step.
  weight_decay: float = at_least(0, 0.0)
  # Multiplies the loss while the gradient is computed, which float16 needs.
  loss_scale: float = above(0, 1.0)
  # Probability taken from the target word and spread over the vocabulary.
  label_smoothing: float = share(0.0)
  # Share that the weights' moving average keeps at each step, after n steps
  # (1 + n) / (10 + n) at the most; evaluation and captioning then use the
  # average. 0: there is none.
  ema_decay: float = share(0.0)
  # Share of the words read that the model drew itself, reached linearly over
  # so many epochs. 0: it reads the captions only.
  scheduled_sampling: float = share(0.0)
  scheduled_sampling_epochs: float = above(0, 10.0)
  # Self-critical training (phase 3): constant learning rate, examples in a
  # batch, captions drawn of each image (2 at least, for they are compared with
  # each other), and the share of the loss that is still the cross-entropy of
  # people's captions.
  self_critical_learning_rate: float = at_least(0, 0.0001)
  self_critical_batch_size: int = at_least(1, 10)
  self_critical_samples: int = at_least(2, 5)
  self_critical_cross_entropy: float = share(0.0)
  # Evaluations without a better one after which training ends early; 0:
  # never. (Training evaluates if it is given --eval_file_pattern.)
  early_stopping_patience: int = at_least(0, 0)
  # In a cluster: whether each step is one of all replicas, down the mean
  # gradient of their batches; otherwise each takes steps of its own.
  sync_replicas: bool = False
  # In a cluster: seconds that a step may take, or the way to the first one,
  # with the wait for processes that are being started again.
  replica_timeout_secs: int = at_least(1, 1800)
  # What makes a checkpoint better than another: 'perplexity', or one of
  # im2txt.scoring.metrics.NAMES, for which evaluation captions the images.
  best_metric: str = 'perplexity'


@record
class Config:
  """A captioning system, as a file of `configs/` returns it."""

  model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
  training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
  # The file's name, without .py; said by --config.
  name: str = ''


def check(config: Config) -> None:
  """Refuse numbers that nothing can be built with.

  Raises:
    ValueError: one is too small or too large.
  """
  for section in (config.model, config.training):
    for field in dataclasses.fields(section):
      value, limit = getattr(section, field.name), field.metadata.get('limit')
      if limit and not limit.allows(value):
        raise ValueError(
            f'{field.name} is {value}; it must be {limit.description}')
  if config.model.tie_embeddings and not config.model.train_word_vectors:
    raise ValueError('tie_embeddings trains the word embedding, which '
                     'train_word_vectors keeps as it is; turn one of them off')
  if config.training.weight_decay and config.training.optimizer != 'AdamW':
    raise ValueError('weight_decay needs optimizer AdamW, not '
                     f'{config.training.optimizer}')


class Markers(NamedTuple):
  """Words that no caption says: see `ModelConfig.start_word` and the next."""

  start_word: str
  end_word: str
  unknown_word: str


def resolve(
    config: Config,
    image_side: int,
    markers: Markers | None = None,
    vocab_size: int = 0,
    embedding_size: int = 0,
) -> Config:
  """Return the final configuration, which nothing changes afterwards.

  Args:
    config: as it was written, with 0 for sizes that follow from others.
    image_side: pixels, for image sides of 0; that of the encoder.
    markers: of the captions; None: those of the configuration.
    vocab_size: for a `vocab_size` of 0; words of the vocabulary, the unknown
      word counted.
    embedding_size: for an `embedding_size` of 0; width of the word vectors.

  Raises:
    ValueError: a number is too small or too large.
  """
  model = config.model
  final = dataclasses.replace(config, model=dataclasses.replace(
      model,
      image_height=model.image_height or image_side,
      image_width=model.image_width or image_side,
      vocab_size=model.vocab_size or vocab_size,
      embedding_size=model.embedding_size or embedding_size,
      **markers._asdict() if markers else {}))
  check(final)
  return final


class Change(NamedTuple):
  """A field of which two configurations have different values."""

  field: str  # For example 'model.batch_size'.
  old: Any
  new: Any

  def __str__(self) -> str:
    return f'{self.field} {self.old!r} -> {self.new!r}'


def changes(old: Config, new: Config) -> list[Change]:
  """List the fields in which two configurations differ.

  Paths are left out: they are found anew on each machine.
  """
  before, after = (
      {f'{section}.{name}': value for section in ('model', 'training')
       for name, value in dataclasses.asdict(getattr(config, section)).items()
       if name not in _PATHS} for config in (old, new))
  return [Change(name, before.get(name), after.get(name))
          for name in dict.fromkeys([*before, *after])
          if before.get(name) != after.get(name)]


def with_absolute_paths(config: Config) -> Config:
  """Return a configuration that means the same in every working folder."""
  def absolute(patterns: str) -> str:
    return ','.join(map(file_system.abspath, patterns.split(',')))

  return dataclasses.replace(config, model=dataclasses.replace(
      config.model, **{
          name: absolute(value) for name in _PATHS
          if (value := getattr(config.model, name))}))


def lookup(table: Mapping[str, Any], field: str, name: Any) -> Any:
  """Return what a field names.

  Raises:
    ValueError: the table does not have it.
  """
  if name not in list(table):  # A list, for what cannot be hashed.
    raise ValueError(f'{field} is {name!r}; it must be one of '
                     f'{", ".join(map(repr, table))}')
  return table[name]


def save(config: Config, folder: str) -> None:
  """Write `config.json` into the folder, whole or not at all."""
  file_system.makedirs(folder)
  path = os.path.join(folder, CONFIG_FILE)
  with atomic_files.write(path) as f:
    json.dump(dataclasses.asdict(config), f, indent=2)
    f.write('\n')


def read(folder: str) -> dict[str, Any]:
  """Read a run folder's `config.json` as plain values.

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
  """Make a record of `record_class`.

  Args:
    record_class: one of the dataclasses above, or derived from one.
    fields: its fields by name, of today or older ones; absent ones take their
      defaults.
    source: file named in errors and warnings.

  Raises:
    ValueError: an unknown field, or a value of another type.
  """
  known = {f.name: f for f in dataclasses.fields(record_class)}
  fields = rename_legacy(fields, source)
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


def override(section: _T, fields: Mapping[str, Any], source: str) -> _T:
  """Make a section of the configuration with some fields changed.

  Args:
    section: a record of this module, or derived from one.
    fields: by name, of today or older ones.
    source: named in errors and warnings.

  Raises:
    ValueError: as of `fill`.
  """
  values = dataclasses.asdict(section)
  # The decay tells what an older name of its factor means.
  decay = {name: value for name, value in values.items()
           if name == 'learning_rate_decay'}
  changed = rename_legacy(decay | dict(fields), source)
  return fill(type(section), values | changed, source)
