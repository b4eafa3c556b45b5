"""Run a build: captioned images in, a folder of shards out.

The folder then holds:
  train-00000-of-00256 ...  the records, likewise val-* and test-*
  word_counts.txt           the vocabulary, unless it is kept elsewhere
  word_counts.style.json    how its captions became words
  images.tsv                split, id and file of every image in the shards
  bad_images.txt            skipped files and why, if there were any
  build.json                settings and input of the build, so that an
                            interrupted build is resumed and two different
                            builds are never mixed
"""

import contextlib
import csv
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import PIL
from absl import logging

from data_prep.datasets.captioned_images import (
  SPLITS,
  CaptionedImage,
  Splits,
  sample_pairs,
)
from data_prep.images import stored_images
from data_prep.runners.local_runner import local_runner
from data_prep.runners.runner import Label, Runner
from data_prep.shards import words
from data_prep.shards.items import (
  LAYOUTS,
  Item,
  Recipe,
  Shard,
  assign_shards,
  count_records,
  list_items,
  shard_path,
  shard_pattern,
  temporary_pattern,
)
from im2txt.files import (
    atomic_files,
    file_system,
    json_files,
    locks,
    overwriting,
)
from im2txt.text import caption_styles, vocabulary

# In build.json, where the least count of a word is no setting.
_CHOSEN = 'chosen by the captions'
# How files begin that a build writes.
_OWN = {'images.tsv': re.compile(rb'\Asplit\timage_id\tfile\r?\n'),
        'bad_images.txt': re.compile(rb'\A[^\n]+\t[^\n]+\n'),
        'build.json': re.compile(rb'\A{\s*"settings"')}
_VOCABULARY = re.compile(rb'\A\S+ [0-9]+\r?\n')
# So many bad images never stop a build, unless they are half of all.
_ALLOWED_BAD = 5


@dataclasses.dataclass(frozen=True)
class Options:
  """How to build; the same for every data set."""
  output_dir: str
  num_shards: Mapping[str, int]  # By split; those not built are ignored.
  # How captions become words.
  style: caption_styles.CaptionStyle = caption_styles.named('nltk')
  # Build a seeded sample of so many image-caption pairs; None: all.
  max_pairs: int | None = None
  # None: see words.choose.
  min_word_count: int | None = None
  # Most words of a new vocabulary, markers counted; None: any number.
  max_words: int | None = None
  # Where to write a new vocabulary; None: word_counts.txt in output_dir.
  word_counts_output_file: str | None = None
  # Use this vocabulary and count no words.
  vocab_file: str | None = None
  layout: str = 'im2txt'  # One of items.LAYOUTS.
  max_side: int = 0       # See ImageFormat, likewise the next.
  jpeg_quality: int = 95
  max_bad_fraction: float = 0.01
  overwrite: bool = False  # Replace files that no build has written.
  # Starts the runner that does the work.
  runner: Callable[[], AbstractContextManager[Runner]] = functools.partial(
      local_runner, 8)

  @property
  def vocabulary_path(self) -> str:
    """Path of the vocabulary that the word ids of the records refer to."""
    return (self.vocab_file or self.word_counts_output_file
            or os.path.join(self.output_dir, vocabulary.FILE_NAME))

  @property
  def image_format(self) -> stored_images.ImageFormat:
    """How images are stored."""
    return stored_images.ImageFormat(self.max_side, self.jpeg_quality)


def build(splits: Splits, options: Options) -> None:
  """Build the shards of every split, or those that are still missing.

  Args:
    splits: the captioned images.
    options: see there.

  Raises:
    ValueError: the splits and the options do not fit, the output folder holds
      another build, or too many images are bad.
    OSError: a file cannot be read or written, a worker died, or another
      process is building there.
  """
  if options.max_pairs is not None:
    splits = sample_pairs(splits, options.max_pairs)
  splits = _without_empty(splits)
  _check_request(splits, options)
  _check_outputs(options)
  file_system.makedirs(options.output_dir)
  options = _lower_shards(splits, options)
  try:
    with locks.folder(options.output_dir):
      _build(splits, _resumed(options))
  except KeyboardInterrupt:
    raise InterruptedError(
        'interrupted; the same command goes on from here') from None


def _build(splits: Splits, options: Options) -> None:
  settings = _settings(splits, options)
  bad = _load_bad_images(options.output_dir, settings)
  if bad is not None and not _missing_files(splits, options):
    logging.info('%s holds this whole build already; nothing to do',
                 options.output_dir)
    return
  try:
    with options.runner() as runner:
      if bad is None:
        bad = _find_bad_images(runner, splits, options.image_format)
      _write_bad_images(bad, splits, options)
      splits = _without_empty({
          split: [image for image in captioned if image.path not in bad]
          for split, captioned in splits.items()})
      _check_request(splits, options)
      vocab = _make_vocabulary(runner, splits, options)
      _write_images_tsv(splits, options.output_dir)
      # From here on the folder belongs to this build.
      _write_json(build_json_path(options.output_dir),
                  {'settings': settings, 'bad': bad})
      _write_shards(runner, splits, options, Recipe(
          options.layout, options.image_format, options.style, vocab))
  finally:
    for split in SPLITS:
      for path in file_system.glob(
          temporary_pattern(options.output_dir, split)):
        with contextlib.suppress(FileNotFoundError):
          file_system.remove(path)
  for split, captioned in splits.items():
    logging.info('%s: %d images, %d image-caption pairs in %d shards', split,
                 len(captioned), _count_pairs(captioned),
                 options.num_shards[split])
  if bad:
    logging.warning(
        '%d bad images were left out (%s%s); see %s', len(bad),
        ', '.join(list(bad)[:3]), ' ...' * (len(bad) > 3),
        _bad_images_path(options.output_dir))


def _check_outputs(options: Options) -> None:
  """Refuse to replace files that no build has written.

  Raises:
    ValueError: there is such a file.
  """
  outputs = [('output_dir', os.path.join(options.output_dir, name), earlier)
             for name, earlier in _OWN.items()]
  if not options.vocab_file:
    outputs.append((
        'word_counts_output_file' if options.word_counts_output_file
        else 'output_dir', options.vocabulary_path, _VOCABULARY))
  for flag, path, earlier in outputs:
    overwriting.check(flag, path, earlier, overwrite=options.overwrite)


def _without_empty(splits: Splits) -> Splits:
  """Return the splits that have images; all are read, few may be left."""
  for split, captioned in splits.items():
    if not captioned and split != 'train':
      logging.warning('the %s split has no images and is left out', split)
  return {split: captioned for split, captioned in splits.items()
          if captioned or split == 'train'}


def _lower_shards(splits: Splits, options: Options) -> Options:
  """Return the options without shards that would be empty."""
  num_shards = dict(options.num_shards)
  for split, captioned in splits.items():
    records = count_records(captioned, options.layout)
    if records < num_shards[split]:
      logging.info(
          '--%s_shards=%d is lowered to %d: there are no more %ss', split,
          num_shards[split], records, LAYOUTS[options.layout])
      num_shards[split] = records
  return dataclasses.replace(options, num_shards=num_shards)


def _resumed(options: Options) -> Options:
  """Return the options with the least count of a build of earlier versions.

  They had a default of their own, whatever it left of the words.
  """
  if options.min_word_count is None:
    # What is wrong with the file is said when the folder is looked at.
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
      begun = json_files.read(build_json_path(options.output_dir))
      count = begun['settings']['min_word_count']
      if isinstance(count, int):
        return dataclasses.replace(options, min_word_count=count)
  return options


def _check_request(splits: Splits, options: Options) -> None:
  if not splits:
    raise ValueError('no split to build: give at least one list of images')
  if options.vocab_file:
    _load_vocabulary(options)  # Raises now what is wrong with it.
  else:
    if 'train' not in splits:
      raise ValueError('no training captions to count words in: '
                       'give --vocab_file=the training data\'s word counts')
    if not splits['train']:
      raise ValueError('the train split has no images')


def _count_pairs(captioned: Sequence[CaptionedImage]) -> int:
  return sum(len(image.captions) for image in captioned)


def _settings(splits: Splits, options: Options) -> dict[str, Any]:
  """Return what the bytes of the shards depend on, except the image files."""
  settings = {
      'start_word': options.style.start_word,
      'end_word': options.style.end_word,
      'unknown_word': options.style.unknown_word,
      'nltk version': importlib.metadata.version('nltk'),
      'pillow version': PIL.__version__,
  }
  # Build folders older than these options must still be recognised.
  settings |= {name: getattr(options, name)
               for name in ('layout', 'max_side', 'jpeg_quality', 'max_words')
               if getattr(options, name) != getattr(Options, name)}
  if options.style.name != Options.style.name:
    settings['caption_style'] = options.style.name
  if options.vocab_file:
    with file_system.open(options.vocab_file, 'rb') as f:
      settings['vocab_file'] = hashlib.sha256(f.read()).hexdigest()
  else:
    settings['min_word_count'] = options.min_word_count or _CHOSEN
  for split, captioned in splits.items():
    digest = hashlib.sha256()
    for image_id, path, captions in captioned:
      digest.update(json.dumps(
          [image_id, file_system.abspath(path), captions]).encode())
    # 'pictures', as in folders of earlier builds.
    settings[f'{split} pictures and captions'] = digest.hexdigest()
    settings[f'{split}_shards'] = options.num_shards[split]
  return settings


def _load_bad_images(
    output_dir: str, settings: Mapping[str, Any]
) -> dict[str, str] | None:
  """Return what an earlier run of this build found wrong, by image path.

  Returns:
    The problems; None if no shard is there yet.

  Raises:
    ValueError: the folder holds shards of another build.
  """
  if not any(file_system.glob(shard_pattern(output_dir, split))
             for split in SPLITS):
    return None
  advice = 'give another --output_dir or empty that folder'
  try:
    with file_system.open(build_json_path(output_dir), encoding='utf-8') as f:
      record = json_files.parse(f.read())
    begun = dict(record['settings'])
    bad = dict(record['bad'])
  except (OSError, ValueError, KeyError, TypeError):
    raise ValueError(f'{output_dir} holds shards of unknown origin '
                     f'(no readable build.json); {advice}') from None
  differing = [key for key in sorted({*begun, *settings})
               if begun.get(key) != settings.get(key)]
  if differing:
    raise ValueError(f'{output_dir} holds shards of another build, which '
                     f'differs in {", ".join(differing)}; {advice}')
  return bad


def _missing_files(splits: Splits, options: Options) -> list[str]:
  """Return the files of a finished build that are not there yet."""
  paths = [shard_path(options.output_dir, split, i,
                             options.num_shards[split])
           for split in splits for i in range(options.num_shards[split])]
  if not options.vocab_file:
    paths += [options.vocabulary_path,
              caption_styles.path_of(options.vocabulary_path)]
  return [path for path in paths if not file_system.exists(path)]


def _find_bad_images(
    runner: Runner, splits: Splits, image_format: stored_images.ImageFormat
) -> dict[str, str]:
  """Return what is wrong with images that cannot be used, by path."""
  paths = list(dict.fromkeys(
      image.path for captioned in splits.values() for image in captioned))
  found = runner.filter_map(
      functools.partial(_check_image, image_format=image_format), paths,
      Label('checking images', 'image'))
  bad = {path: problem for path, problem in found if problem is not None}
  logging.info('checked %d images: %d bad, %d to be turned upright',
               len(paths), len(bad), len(found) - len(bad))
  return bad


def _check_image(
    path: str, image_format: stored_images.ImageFormat
) -> tuple[str, str | None] | None:
  """Return an image that is bad, with its problem, or to be turned."""
  problem, is_turned = stored_images.check(path, image_format)
  return (path, problem) if problem is not None or is_turned else None


def _write_bad_images(
    bad: Mapping[str, str], splits: Splits, options: Options
) -> None:
  report = _bad_images_path(options.output_dir)
  if not bad:
    # One may be left from a run before the images were repaired.
    if file_system.exists(report):
      file_system.remove(report)
    return
  _write_text(report, ''.join(
      f'{path}\t{problem}\n' for path, problem in bad.items()))
  total = len({image.path for captioned in splits.values()
               for image in captioned})
  allowed = options.max_bad_fraction * total
  if options.max_bad_fraction:
    allowed = max(allowed, min(_ALLOWED_BAD, (total - 1) // 2))
  if len(bad) > allowed:
    raise ValueError(
        f'{len(bad)} of {total} images are bad (see {report}), more than '
        f'--max_bad_fraction={options.max_bad_fraction:g}; put them right, or '
        'raise the flag to go on without them')


def _make_vocabulary(
    runner: Runner, splits: Splits, options: Options
) -> vocabulary.Vocabulary:
  path = options.vocabulary_path
  captions = [
      caption for split, captioned in splits.items()
      if options.vocab_file or split == 'train'
      for image in captioned for caption in image.captions]
  counts = words.count(runner, captions, options.style)
  if not options.vocab_file:
    chosen = words.choose(
        counts, options.style, options.min_word_count, options.max_words)
    file_system.makedirs(os.path.dirname(path) or '.')
    vocabulary.write_word_counts(path, chosen)
    caption_styles.write(path, options.style)
  vocab = _load_vocabulary(options)
  logging.info('%d words, the unknown word included: %s', len(vocab), path)
  words.report(counts, vocab, options.style.unknown_word,
               is_counted=not options.vocab_file)
  return vocab


def _load_vocabulary(options: Options) -> vocabulary.Vocabulary:
  style = options.style
  return vocabulary.Vocabulary(options.vocabulary_path, style.start_word,
                               style.end_word, style.unknown_word)


def _write_shards(
    runner: Runner, splits: Splits, options: Options, recipe: Recipe
) -> None:
  total = 0
  due: list[Shard] = []
  for split, captioned in splits.items():
    items = list_items(captioned, recipe.layout)
    total += len(items)
    due += [shard for shard in assign_shards(
        options.output_dir, split, items, options.num_shards[split])
            if not file_system.exists(shard.path)]
  sizes = [len(shard.items) for shard in due]
  if sum(sizes) < total:
    logging.info('%d %ss are in finished shards already',
                 total - sum(sizes), LAYOUTS[recipe.layout])
  runner.for_each(functools.partial(_write_shard, recipe=recipe), due, sizes,
                  Label('writing shards', 'record'))


def _write_shard(shard: Sequence[Any], recipe: Recipe) -> None:
  # Imports TensorFlow, which takes seconds; only the workers need it.
  from data_prep.shards import shard_writer

  path, items = shard
  shard_writer.write_shard(
      Shard(path, [Item(*item) for item in items]), recipe)


def _write_images_tsv(splits: Splits, output_dir: str) -> None:
  path = os.path.join(output_dir, 'images.tsv')
  with atomic_files.write(path) as f:
    table = csv.writer(f, delimiter='\t', lineterminator='\n')
    table.writerow(['split', 'image_id', 'file'])
    for split, captioned in splits.items():
      table.writerows([split, image.image_id, image.path]
                      for image in captioned)


def _write_json(path: str, value: Any) -> None:
  _write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + '\n')


def _write_text(path: str, text: str) -> None:
  with atomic_files.write(path) as f:
    f.write(text)


def build_json_path(output_dir: str) -> str:
  """Return the path of the settings file, written before the first shard."""
  return os.path.join(output_dir, 'build.json')


def _bad_images_path(output_dir: str) -> str:
  return os.path.join(output_dir, 'bad_images.txt')
