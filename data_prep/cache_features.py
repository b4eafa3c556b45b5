r"""Runs the frozen encoder over shards once; training then reads its features.

  python -m data_prep.cache_features --config=configs/show_and_tell.py \
    --inception_checkpoint_file=inception_v3.ckpt \
    --input_file_pattern='coco_shards/*-of-?????' --output_dir=coco_features

writes shards of the same names, with features in the place of the photos.
Give them to train.py and evaluate.py as --input_file_pattern; everything else
stays as it is. Each photo is encoded once, whether the shards have it once or,
as im2txt's do, with each of its captions.

Captions change, photos stay: build the shards anew, and give the features
there are as --reuse; photos that those have are not encoded again.
Interrupted, the same command goes on with the first shard that is not there.
"""

import collections
import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import flags, logging
from tqdm import tqdm

from data_prep import feature_store, photo_scan
from data_prep.shards import cut
from im2txt import (
    bad_records,
    bad_records_flag,
    command_line,
    config_flag,
    configuration,
    encoder_weights,
    encoders,
    feature_cache,
    file_system,
    image_processing,
    inputs,
    sequence_example,
    variable_loader,
    vocabulary,
    whole_file,
)

tf1 = tf.compat.v1

flags.adopt_module_key_flags(bad_records_flag)
flags.adopt_module_key_flags(config_flag)
_INPUT_FILE_PATTERN = flags.DEFINE_string(
    'input_file_pattern', None, 'Comma-separated patterns of shards of '
    'photos, of all splits at once.', required=True)
_OUTPUT_DIR = flags.DEFINE_string(
    'output_dir', None, 'Folder for the feature shards; made if it is not '
    'there.', required=True)
_INCEPTION_CHECKPOINT_FILE = flags.DEFINE_string(
    'inception_checkpoint_file', None, "The encoder's weights, as for "
    'training; or a checkpoint of a run that trained the encoder.')
_FEATURES = flags.DEFINE_enum(
    'features', 'pooled', ['pooled', 'regions', 'both'], 'What to keep of a '
    'photo: one vector, which is all that Show and Tell looks at, or a vector '
    'of each region, of which the one is the mean.')
_PRECISION = flags.DEFINE_enum(
    'precision', 'float16', feature_cache.PRECISIONS, 'Of each number.')
_AUGMENTATIONS = flags.DEFINE_integer(
    'augmentations', 0, 'Also keep so many randomly cropped, flipped and '
    'coloured versions of each photo; training draws one of them each time. '
    '0: training sees each photo plain.', lower_bound=0)
_REUSE = flags.DEFINE_string(
    'reuse', None, 'Folder of features made likewise; photos that it has are '
    'not encoded again.')
_BATCH_SIZE = flags.DEFINE_integer(
    'batch_size', 32, 'Pictures encoded at once.', lower_bound=1)

_KEYS = {'pooled': [feature_cache.POOLED],
         'regions': [feature_cache.REGIONS],
         'both': [feature_cache.POOLED, feature_cache.REGIONS]}


class _Shard(NamedTuple):
  """A shard to write."""

  path: str
  photos: Sequence[photo_scan.Photo]


def reading(config: configuration.ModelConfig) -> configuration.ModelConfig:
  """How photos are read: whatever words the captions have, and how many.

  Args:
    config: of a model that is to be trained on the features.
  """
  return configuration.ModelConfig(**{
      field.name: getattr(config, field.name)
      for field in dataclasses.fields(configuration.ModelConfig)
  } | {'vocab_size': 0, 'max_caption_length': 0})


class FeatureMaker:
  """The encoder with its weights."""

  def __init__(self, config: configuration.ModelConfig):
    """Reads the weights.

    Args:
      config: the encoder, its weights and the size of its pictures.

    Raises:
      OSError: the weights are not there.
      ValueError: there are none, or they are of another network.
    """
    if not encoder_weights.find(config):
      raise ValueError(f'the encoder {config.encoder} needs its weights: give '
                       '--inception_checkpoint_file')
    self._config = config
    self._reading = reading(config)
    self._graph = tf.Graph()
    with self._graph.as_default():
      self._encoding = self._encode(tf.zeros(
          [1, config.image_height, config.image_width, 3]))
      variables = encoder_weights.variables(config)
      self._loader = variable_loader.VariableLoader(variables)
      self._values = encoder_weights.read(config, variables)

  def describe(
      self, features: str, precision: str, augmentations: int, source: str
  ) -> feature_cache.Description:
    """What the features will have been made with."""
    return feature_cache.Description(
        encoder=self._config.encoder,
        weights=encoder_weights.digest(self._config, self._values),
        image_height=self._config.image_height,
        image_width=self._config.image_width,
        preprocessing=image_processing.describe(
            self._config, augmentations),
        precision=precision,
        augmentations=augmentations,
        shapes={key: self._encoding[key].shape[1:].as_list()
                for key in _KEYS[features]},
        source=source)

  def make(
      self,
      records: Sequence[tuple[str, np.ndarray]],
      description: feature_cache.Description,
      batch_size: int,
      left_out: Sequence[bad_records.Fault] | None = None,
  ) -> Iterator[dict[str, bytes]]:
    """Encodes the photos of some records of shards, in order.

    Args:
      records: shards and, of each record that is not left out, whether it is to
        be encoded; bool.
      description: what to make.
      batch_size: pictures encoded at once.
      left_out: of `inputs.left_out`.

    Yields:
      A photo's features as they lie in a record, by key.

    Raises:
      ValueError: a picture cannot be decoded.
    """
    versions = description.augmentations + 1
    with self._graph.as_default(), tf1.Session() as session:
      file = tf1.placeholder(tf.string, [])
      wanted = tf1.placeholder(tf.bool, [None])
      photos = self._read(
          bad_records.dataset(file, left_out or ()), wanted, versions).batch(
              max(1, batch_size // versions)).prefetch(2)
      iterator = tf1.data.make_initializable_iterator(photos)
      images = iterator.get_next()  # [P, versions, height, width, 3]
      encoding = self._encode(tf.reshape(images, [-1, *images.shape[2:]]))
      fetches = {
          key: tf.reshape(encoding[key], [-1, versions, *shape])
          for key, shape in description.shapes.items()}
      self._loader.load(session, self._values)
      for path, chosen in records:
        session.run(iterator.initializer, {file: path, wanted: chosen})
        while True:
          try:
            with inputs.explained_errors(self._reading, [path]):
              found = session.run(fetches)
          except tf.errors.OutOfRangeError:
            break
          for arrays in zip(*found.values(), strict=True):
            yield {key: description.pack(array)
                   for key, array in zip(found, arrays, strict=True)}

  def _encode(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
    encoding = encoders.make(self._config).encode(images, False, False)
    return {feature_cache.POOLED: encoding.pooled,
            feature_cache.REGIONS: encoding.regions}

  def _read(
      self, records: tf.data.Dataset, wanted: tf.Tensor, versions: int
  ) -> tf.data.Dataset:
    """The plain version of each photo and then the distorted ones.

    Those follow from the photo's bytes, so that they are the same whenever it
    is its turn and whatever was made before.
    """
    config = self._config

    def decode(serialized: tf.Tensor) -> tf.Tensor:
      record = sequence_example.parse(
          serialized, [config.image_feature_name], config.caption_feature_name)
      encoded_image = record.data[config.image_feature_name]
      image = image_processing.decode_image(encoded_image)
      photo = tf.strings.to_hash_bucket_fast(encoded_image, 2**62)
      return tf.stack([image_processing.fit_image(image, False, config)] + [
          image_processing.fit_image(
              image, True, config, photo + i, tf.stack([photo, i]))
          for i in range(1, versions)])

    plain = tf.autograph.experimental.do_not_convert
    records = tf.data.Dataset.zip((
        records, tf.data.Dataset.from_tensor_slices(wanted)))
    return (records.filter(plain(lambda _, wanted: wanted))
            .map(plain(lambda serialized, _: decode(serialized)),
                 config.num_preprocess_threads))


def list_shards(
    groups: Sequence[photo_scan.Group], output_dir: str
) -> list[_Shard]:
  """Deals out each group's photos to as many shards as it has.

  Raises:
    ValueError: two shards have one name.
  """
  found = []
  for files, _, photos in groups:
    found += [
        _Shard(os.path.join(output_dir, os.path.basename(file)), part)
        for file, part in zip(
            files, cut(photos, len(files)), strict=True)]
  counts = collections.Counter(shard.path for shard in found)
  for path, count in counts.items():
    if count > 1:
      raise ValueError(f'two shards are named {os.path.basename(path)}; make '
                       'the features of each folder in a folder of their own')
  return found


def choose_records(
    groups: Sequence[photo_scan.Group],
    shards: Sequence[_Shard],
    store: feature_store.FeatureStore | None,
) -> list[tuple[str, np.ndarray]]:
  """Finds the records whose photos are still to be encoded.

  Args:
    groups: what the shards of photos hold.
    shards: those to be written.
    store: has photos that need not be encoded.

  Returns:
    Each file to read and, of each of its records, whether it is one; bool.
  """
  due = {id(photo) for shard in shards for photo in shard.photos
         if store is None or photo.digest not in store}
  records = []
  for group in groups:
    photos = iter(group.photos)
    for file, first in zip(group.files, group.first, strict=True):
      chosen = np.array(
          [bool(is_first and id(next(photos)) in due) for is_first in first])
      if chosen.any():
        records.append((file, chosen))
  return records


def write_shard(
    shard: _Shard,
    features: Iterator[dict[str, bytes]],
    store: feature_store.FeatureStore | None,
    bar: tqdm,
) -> None:
  """Writes one shard, whole or not at all."""
  def records() -> Iterator[bytes]:
    for photo in shard.photos:
      data = (store.get(photo.digest) if store and photo.digest in store
              else next(features))
      example = sequence_example.make_image(
          photo.image_id, {feature_cache.DIGEST: photo.digest, **data},
          photo_scan.captions_of(photo))
      yield example.SerializeToString(deterministic=True)
      bar.update()

  sequence_example.write_records(shard.path, records())


def claim_folder(
    folder: str, description: feature_cache.Description
) -> None:
  """Marks the folder as one of these features.

  Raises:
    ValueError: it holds others.
  """
  begun = feature_cache.read(folder)
  if begun is None and file_system.isdir(folder) and not all(
      map(whole_file.is_temporary, file_system.listdir(folder))):
    raise ValueError(f'{folder} holds something else already; give another '
                     '--output_dir')
  if begun and (begun != description or begun.source != description.source):
    raise ValueError(
        f'{folder} holds other features, which differ in '
        f'{begun.difference(description)}; give another --output_dir')
  file_system.makedirs(folder)
  feature_cache.write(folder, description)


def main() -> None:
  """Reads the flags and makes the features."""
  config = config_flag.value()
  if config is None:
    raise ValueError('which encoder? Give the --config of the training')
  encoders.resolve_sides(config.model)
  configuration.check(config)
  bad_records_flag.apply(config.model)
  if _INCEPTION_CHECKPOINT_FILE.value:
    config.model.inception_checkpoint_file = _INCEPTION_CHECKPOINT_FILE.value
  output_dir = _OUTPUT_DIR.value
  files = inputs.find_shards(_INPUT_FILE_PATTERN.value)
  maker = FeatureMaker(config.model)
  left_out = inputs.left_out(reading(config.model), files)
  groups = photo_scan.scan(files, config.model.image_feature_name,
                           config.model.caption_feature_name, left_out)
  all_shards = list_shards(groups, output_dir)
  description = maker.describe(
      _FEATURES.value, _PRECISION.value, _AUGMENTATIONS.value,
      photo_scan.digest(groups))
  store = (feature_store.FeatureStore(_REUSE.value, description)
           if _REUSE.value else None)
  claim_folder(output_dir, description)
  words = os.path.join(os.path.dirname(files[0]), vocabulary.FILE_NAME)
  if file_system.exists(words):
    vocabulary.copy(words, output_dir)

  due = [shard for shard in all_shards if not file_system.exists(shard.path)]
  records = choose_records(groups, due, store)
  total, left = (sum(len(shard.photos) for shard in shards)
                 for shards in (all_shards, due))
  logging.info('%d photos, %d of them to encode', total,
               sum(int(chosen.sum()) for _, chosen in records))
  # Closed, for an interrupted program does not end while the session is open.
  with (contextlib.closing(maker.make(
      records, description, _BATCH_SIZE.value, left_out)) as features,
        tqdm(desc='making features', initial=total - left, total=total,
             unit='photo', disable=None) as bar):
    for shard in due:
      write_shard(shard, features, store, bar)
      if bar.disable:
        logging.info('%s: %d photos', shard.path, len(shard.photos))
  logging.info('%s: %d photos in %d shards', output_dir, total,
               len(all_shards))


if __name__ == '__main__':
  command_line.run(main)
