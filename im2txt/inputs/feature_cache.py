"""Encoder outputs cached in place of images: feature shards.

They are shards of layout `image` (see `sequence_example`) whose records hold,
instead of the image,

  features/pooled   float16 or float32 [A, C]
  features/regions  float16 or float32 [A, L, C]

or one of the two, as plain little-endian bytes, and `features/digest`, the
SHA-256 of the image file. The first of the A versions of an image is the
plain one, the others are distorted at random as images are in training.
Beside the shards lies `features.json`, a `Description` of how they were made.
"""

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from im2txt import configuration
from im2txt.files import atomic_files, file_system, json_files
from im2txt.inputs import image_processing

FILE_NAME = 'features.json'
POOLED = 'features/pooled'
REGIONS = 'features/regions'
DIGEST = 'features/digest'
PRECISIONS = ('float16', 'float32')


@dataclasses.dataclass(frozen=True)
class Description:
  """How feature shards were made.

  Attributes:
    encoder: a name of im2txt.encoders.ENCODERS.
    weights: digest of the encoder's weights.
    image_height: pixels of the encoder's input.
    image_width: likewise.
    preprocessing: `image_processing.describe` at that time.
    precision: one of `PRECISIONS`.
    augmentations: distorted versions of each image, beside the plain one.
    shapes: of one version, by context key.
    source: digest of the images and captions that the shards hold.
  """

  encoder: str
  weights: str
  image_height: int
  image_width: int
  preprocessing: str
  precision: str
  augmentations: int
  shapes: dict[str, list[int]]
  source: str = dataclasses.field(compare=False)

  def __post_init__(self):
    if self.precision not in PRECISIONS:
      raise ValueError(f'precision is {self.precision!r}')
    if not isinstance(self.augmentations, int) or self.augmentations < 0:
      raise ValueError(f'augmentations is {self.augmentations!r}')
    if not (isinstance(self.shapes, dict) and self.shapes
            and self.shapes.keys() <= {POOLED, REGIONS}
            and all(isinstance(shape, list)
                    and all(type(size) is int and 0 < size < 2**31
                            for size in shape)
                    for shape in self.shapes.values())):
      raise ValueError(f'shapes is {self.shapes!r}')

  def check(self, config: configuration.ModelConfig, folder: str) -> None:
    """Refuse features that another encoder made, its weights aside.

    Args:
      config: of the model that is to read them.
      folder: where they are, for the message.

    Raises:
      ValueError: they were made with something else; says with what.
    """
    wanted = {'encoder': config.encoder, 'image_height': config.image_height,
              'image_width': config.image_width,
              'preprocessing': image_processing.describe(
                  config, self.augmentations)}
    for name, value in wanted.items():
      if getattr(self, name) != value:
        raise ValueError(
            f'{folder}: these features were made with {name} '
            f'{getattr(self, name)!r}, but the model has {value!r}; make them '
            'anew with data_prep.cache_features')

  def check_weights(self, weights: str, folder: str) -> None:
    """Refuse features that other weights made.

    Args:
      weights: digest of the model's.
      folder: where the features are, for the message.

    Raises:
      ValueError: they are of other weights.
    """
    if self.weights != weights:
      raise ValueError(
          f'{folder}: these features were made with other weights of the '
          f'encoder ({self.weights}) than the model has ({weights}); make '
          'them anew with data_prep.cache_features')

  def difference(self, other: 'Description') -> str:
    """Name the fields in which other features differ."""
    names = [field.name for field in dataclasses.fields(self) if field.compare
             and getattr(self, field.name) != getattr(other, field.name)]
    return ', '.join(names or ['the images and captions they are of'])

  def pack(self, features: np.ndarray) -> bytes:
    """Return the bytes of an image's features, [A, ...].

    Raises:
      ValueError: they do not fit the precision.
    """
    with np.errstate(over='ignore'):
      packed = features.astype(np.dtype(self.precision).newbyteorder('<'))
    if not np.isfinite(packed).all():
      raise ValueError(
          f'features are not finite as {self.precision}'
          + '; use --precision=float32' * (self.precision == 'float16'))
    return packed.tobytes()

  def num_bytes(self, key: str) -> int:
    """Return the bytes of all versions of an image."""
    return self._size(key) * (self.augmentations + 1)

  def unpack(self, key: str, packed: tf.Tensor) -> tf.Tensor:
    """Undo `pack` in the graph for one version.

    Args:
      key: context key.
      packed: string [B]; one version of each image.

    Returns:
      float32 [B, *shapes[key]].
    """
    values = tf.io.decode_raw(packed, tf.dtypes.as_dtype(self.precision))
    return tf.reshape(tf.cast(values, tf.float32), [-1, *self.shapes[key]])

  def version(
      self, key: str, packed: tf.Tensor, number: tf.Tensor
  ) -> tf.Tensor:
    """Cut one version, string [], out of all of an image, string []."""
    size = self._size(key)
    return tf.strings.substr(packed, number * size, size)

  def checked(self, key: str, packed: tf.Tensor) -> tf.Tensor:
    """All versions of an image, string [], if they are as long as they say."""
    size = self.num_bytes(key)
    length = tf.strings.length(packed)
    right = tf.debugging.Assert(tf.equal(length, size), [
        f'{key} has', length, f'bytes, not {size} as {FILE_NAME} says'])
    with tf.control_dependencies([right]):
      return tf.identity(packed)

  def _size(self, key: str) -> int:
    """Return the bytes of one version."""
    return (int(np.prod(self.shapes[key]))
            * np.dtype(self.precision).itemsize)


def find(shards: Sequence[str]) -> Description | None:
  """Find the description of feature shards; None for shards of images.

  Raises:
    ValueError: some are of features and some of images, or of other
      features, or not all have been made yet, or the description cannot be
      read.
  """
  folders = sorted({os.path.dirname(shard) for shard in shards})
  found = {folder: read(folder) for folder in folders}
  first = found[folders[0]]
  for folder, description in found.items():
    if description != first:
      raise ValueError(f'{folders[0]} and {folder} hold features of different '
                       'kinds, or one of them images; train on one kind')
  if first:
    _check_complete(shards)
  return first


def _check_complete(shards: Iterable[str]) -> None:
  sets = {match.groups() for shard in shards if (match := re.fullmatch(
      r'(.*-)\d{5}(-of-(\d{5}))', shard))}
  for before, behind, number in sets:
    there = [file_system.exists(f'{before}{i:05d}{behind}')
             for i in range(int(number))]
    if not all(there):
      raise ValueError(
          f'{before}*{behind}: only {sum(there)} of {len(there)} shards are '
          'there; data_prep.cache_features goes on where it stopped')


def read(folder: str) -> Description | None:
  """Read a folder's description, if it has one.

  Raises:
    ValueError: it cannot be read.
  """
  path = os.path.join(folder, FILE_NAME)
  if not file_system.exists(path):
    return None
  try:
    with file_system.open(path, encoding='utf-8') as f:
      return Description(**json_files.parse(f.read()))
  except (ValueError, TypeError) as error:
    raise ValueError(f'{path} does not describe features: {error}') from None


def write(folder: str, description: Description) -> None:
  """Write a folder's description."""
  with atomic_files.write(os.path.join(folder, FILE_NAME)) as f:
    json.dump(dataclasses.asdict(description), f, indent=2)
    f.write('\n')
