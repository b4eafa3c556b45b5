r"""Run the frozen encoder over shards once; training then reads its features.

  python -m data_prep.cache_features --config=configs/show_and_tell.py \
    --inception_checkpoint_file=inception_v3.ckpt \
    --input_file_pattern='coco_shards/*-of-?????' --output_dir=coco_features

writes shards of the same names, with features in the place of the images.
Give them to train.py and evaluate.py as --input_file_pattern; everything else
stays as it is. Each image is encoded once, whether the shards have it once or,
as im2txt's do, with each of its captions.

Captions change, images stay: build the shards anew, and give the features
there are as --reuse; images that those have are not encoded again.
Interrupted, the same command goes on with the first shard that is not there.
With --runner=beam many machines share the work, a shard each; the features are
the same.
"""

import collections
import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
from absl import flags, logging

from data_prep.features import feature_maker, feature_store, image_scan
from data_prep.runners import local_runner
from data_prep.runners.flags import RunnerFlags
from data_prep.runners.runner import Label, Runner
from data_prep.shards.items import split_evenly
from im2txt import command_line, configuration, encoders
from im2txt.files import atomic_files, file_system, locks
from im2txt.flags.bad_records import BadRecordsFlag
from im2txt.flags.config import ConfigFlag
from im2txt.inputs import feature_cache
from im2txt.inputs.shards import Shards
from im2txt.text import vocabulary


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.bad_records = BadRecordsFlag(values)
    self.config = ConfigFlag(values)
    self.input_file_pattern = flags.DEFINE_string(
        'input_file_pattern', None, 'Comma-separated patterns of shards of '
        'images, of all splits at once.', required=True, flag_values=values)
    self.output_dir = flags.DEFINE_string(
        'output_dir', None, 'Folder for the feature shards; made if it is not '
        'there.', required=True, flag_values=values)
    self.inception_checkpoint_file = flags.DEFINE_string(
        'inception_checkpoint_file', None, "The encoder's weights, as for "
        'training; or a checkpoint of a run that trained the encoder.',
        flag_values=values)
    self.features = flags.DEFINE_enum(
        'features', 'pooled', list(feature_maker.KEYS), 'What to keep of an '
        'image: one vector, which is all that Show and Tell looks at, or a '
        'vector of each region, of which the one is the mean.',
        flag_values=values)
    self.precision = flags.DEFINE_enum(
        'precision', 'float16', feature_cache.PRECISIONS, 'Of each number.',
        flag_values=values)
    self.augmentations = flags.DEFINE_integer(
        'augmentations', 0, 'Also keep so many randomly cropped, flipped and '
        'coloured versions of each image; training draws one of them each '
        'time. 0: training sees each image plain.', lower_bound=0,
        flag_values=values)
    self.reuse = flags.DEFINE_string(
        'reuse', None, 'Folder of features made likewise; images that it has '
        'are not encoded again.', flag_values=values)
    self.batch_size = flags.DEFINE_integer(
        'batch_size', 32, 'Images encoded at once.', lower_bound=1,
        flag_values=values)
    self.runner = RunnerFlags('this process, which keeps all CPUs busy', values)


@dataclasses.dataclass(frozen=True)
class Options:
  """What to make, and how; see the flags."""
  output_dir: str
  features: str = 'pooled'  # One of feature_maker.KEYS.
  precision: str = 'float16'
  augmentations: int = 0
  reuse: str | None = None
  batch_size: int = 32
  # Starts what does the work.
  runner: Callable[[], AbstractContextManager[Runner]] = (
      local_runner.in_this_process)


def list_shards(
    groups: Sequence[image_scan.Group], output_dir: str,
    store: feature_store.FeatureStore | None,
) -> list[feature_maker.Shard]:
  """Deal out each group's images to as many shards as it has.

  Args:
    groups: what the shards of images hold.
    output_dir: folder of the feature shards.
    store: has images that need not be encoded.

  Raises:
    ValueError: two shards have one name.
  """
  found = []
  for group in groups:
    places = [(file, int(record))
              for file, first in zip(group.files, group.first, strict=True)
              for record in np.flatnonzero(first)]
    images = [(image, *place)
              for image, place in zip(group.images, places, strict=True)]
    found += [
        feature_maker.make_shard(
            part, os.path.join(output_dir, os.path.basename(file)), store)
        for file, part in zip(
            group.files, split_evenly(
                images, len(group.files)), strict=True)]
  counts = collections.Counter(shard.path for shard in found)
  for path, count in counts.items():
    if count > 1:
      raise ValueError(f'two shards are named {os.path.basename(path)}; make '
                       'the features of each folder in a folder of their own')
  return found


def claim_folder(
    folder: str, description: feature_cache.Description
) -> None:
  """Mark the folder, which must be there, as one of these features.

  Raises:
    ValueError: it holds others.
  """
  begun = feature_cache.read(folder)
  if begun is None and not all(
      name == locks.FILE_NAME or atomic_files.is_temporary(name)
      for name in file_system.listdir(folder)):
    raise ValueError(f'{folder} holds something else already; give another '
                     '--output_dir')
  if begun and (begun != description or begun.source != description.source):
    raise ValueError(
        f'{folder} holds other features, which differ in '
        f'{begun.difference(description)}; give another --output_dir')
  feature_cache.write(folder, description)


def make(
    config: configuration.ModelConfig, shards: Shards, options: Options
) -> None:
  """Make the features of shards, or those that are still to do.

  Args:
    config: the encoder and its weights.
    shards: of images.
    options: see there.

  Raises:
    ValueError: the shards or the weights cannot be used, or the folder holds
      something else.
    OSError: a file cannot be read or written, or another process is making
      features there.
  """
  folder = options.output_dir
  with contextlib.ExitStack() as stack:
    stack.callback(feature_maker.close)
    maker = feature_maker.get_maker(config)
    file_system.makedirs(folder)
    stack.enter_context(locks.folder(folder))
    runner = stack.enter_context(options.runner())
    groups = image_scan.scan(runner, shards, config)
    description = maker.describe(
        options.features, options.precision, options.augmentations,
        image_scan.digest(groups))
    store = options.reuse and feature_store.FeatureStore(
        runner, options.reuse, description,
        shards.skips_bad_records)
    wanted = list_shards(groups, folder, store)
    claim_folder(folder, description)
    if shards.vocab_file:
      vocabulary.copy(shards.vocab_file, folder)

    due = [shard for shard in wanted if not file_system.exists(shard.path)]
    total = sum(len(shard.images) for shard in wanted)
    logging.info('%d images, %d of them to encode', total,
                 sum(map(feature_maker.count_to_encode, due)))
    try:
      runner.for_each(
          functools.partial(
              feature_maker.write_shard, recipe=feature_maker.Recipe(
                  config, description, options.batch_size)),
          due, [len(shard.images) for shard in due],
          Label('making features', 'image'))
    finally:
      remove_leftovers(folder, wanted)
  logging.info('%s: %d images in %d shards', folder, total, len(wanted))


def remove_leftovers(
    folder: str, shards: Sequence[feature_maker.Shard]
) -> None:
  """Remove what killed writers of a folder's shards left behind."""
  names = {os.path.basename(shard.path) for shard in shards}
  for name in file_system.listdir(folder):
    if (atomic_files.is_temporary(name)
        and atomic_files.target_of(name) in names):
      with contextlib.suppress(FileNotFoundError):
        file_system.remove(os.path.join(folder, name))


def main(flags_: Flags) -> None:
  """Make the features."""
  config = flags_.config.value()
  if config is None:
    raise ValueError('which encoder? Give the --config of the training')
  model = configuration.resolve(
      config, encoders.make(config.model).image_side).model
  shards = Shards.find(flags_.input_file_pattern.value,
                       flags_.bad_records.value() or model.bad_records)
  weights = flags_.inception_checkpoint_file.value
  if weights:
    model = dataclasses.replace(model, inception_checkpoint_file=weights)
  make(model, shards, Options(
      output_dir=flags_.output_dir.value,
      features=flags_.features.value,
      precision=flags_.precision.value,
      augmentations=flags_.augmentations.value,
      reuse=flags_.reuse.value,
      batch_size=flags_.batch_size.value,
      runner=flags_.runner.choose(
          local_runner.in_this_process, flags_.output_dir.value)))


if __name__ == '__main__':
  command_line.run(main, Flags)
