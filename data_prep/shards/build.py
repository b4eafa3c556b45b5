"""Runs a build: captioned images in, a folder of shards out.

The folder then holds:
  train-00000-of-00256 ...  the records, likewise val-* and test-*
  word_counts.txt           the vocabulary, unless it is kept elsewhere
  word_counts.style.json    how its captions became words
  images.tsv                split, id and file of every image in the shards
  bad_images.txt            skipped files and why, if there were any
  build.json                what was built from what, so that a build that
                            was cut short goes on and no two are ever mixed
"""

import contextlib
import csv
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import nltk
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
from data_prep.shards import items as shards
from im2txt.files import atomic_files, file_system, json_files, locks
from im2txt.text import caption_styles, vocabulary


@dataclasses.dataclass(frozen=True)
class Options:
  """How to build; the same for every data set."""
  output_dir: str
  num_shards: Mapping[str, int]  # By split; those not built are ignored.
  # How captions become words.
  style: caption_styles.CaptionStyle = caption_styles.named('nltk')
  # A seeded sample of so many image-caption pairs is built; None: all.
  max_pairs: int | None = None
  min_word_count: int = 4
  # Most words of a new vocabulary, markers counted; None: any number.
  max_words: int | None = None
  # Where to write a new vocabulary; None: word_counts.txt in output_dir.
  word_counts_output_file: str | None = None
  # Use this vocabulary and count no words.
  vocab_file: str | None = None
  layout: str = 'im2txt'  # One of shards.LAYOUTS.
  max_side: int = 0       # See images.Form, likewise the next.
  jpeg_quality: int = 95
  max_bad_fraction: float = 0.01
  # Starts what does the work.
  runner: Callable[[], AbstractContextManager[Runner]] = functools.partial(
      local_runner, 8)

  @property
  def vocabulary_path(self) -> str:
    """The vocabulary that the records' ids refer to."""
    return (self.vocab_file or self.word_counts_output_file
            or os.path.join(self.output_dir, vocabulary.FILE_NAME))

  @property
  def form(self) -> stored_images.Form:
    """How images are stored."""
    return stored_images.Form(self.max_side, self.jpeg_quality)


def build(splits: Splits, options: Options) -> None:
  """Builds the shards of every split, or those that are still to do.

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
  _check_request(splits, options)
  file_system.makedirs(options.output_dir)
  try:
    with locks.folder(options.output_dir):
      _build(splits, options)
  except KeyboardInterrupt:
    raise InterruptedError(
        'interrupted; the same command goes on from here') from None


def _build(splits: Splits, options: Options) -> None:
  settings = _settings(splits, options)
  bad = _bad_before(options.output_dir, settings)
  if bad is not None and not _unwritten(splits, options):
    logging.info('%s holds this whole build already; nothing to do',
                 options.output_dir)
    return
  try:
    with options.runner() as runner:
      if bad is None:
        bad = _find_bad(runner, splits, options.form)
      _report_bad(bad, splits, options)
      splits = {split: [image for image in captioned if image.path not in bad]
                for split, captioned in splits.items()}
      _check_request(splits, options)
      vocab = _make_vocabulary(runner, splits, options)
      _write_images_tsv(splits, options.output_dir)
      # From here on the folder is this build's.
      _write_json(record_path(options.output_dir),
                  {'settings': settings, 'bad': bad})
      _write_shards(runner, splits, options, shards.Recipe(
          options.layout, options.form, options.style, vocab))
  finally:
    for split in SPLITS:
      for path in file_system.glob(
          shards.temporary_pattern(options.output_dir, split)):
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
        _report_path(options.output_dir))


def _check_request(splits: Splits, options: Options) -> None:
  if not splits:
    raise ValueError('no split to build: give at least one list of images')
  if options.vocab_file:
    _load_vocabulary(options)  # Says what is wrong before the work begins.
  else:
    if 'train' not in splits:
      raise ValueError('no training captions to count words in: '
                       'give --vocab_file=the training data\'s word counts')
    if _count_pairs(splits['train']) < options.min_word_count:
      raise ValueError(
          f'--min_word_count={options.min_word_count} leaves no words: there '
          f'are {_count_pairs(splits["train"])} training captions')
  for split, captioned in splits.items():
    records = shards.count_records(captioned, options.layout)
    if records < options.num_shards[split]:
      raise ValueError(
          f'--{split}_shards={options.num_shards[split]} is more than the '
          f'{records} {shards.LAYOUTS[options.layout]}s of the {split} '
          'split; lower it')


def _count_pairs(captioned: Sequence[CaptionedImage]) -> int:
  return sum(len(image.captions) for image in captioned)


def _settings(splits: Splits, options: Options) -> dict[str, Any]:
  """Everything that a shard's bytes depend on, file contents aside."""
  settings = {
      'start_word': options.style.start_word,
      'end_word': options.style.end_word,
      'unknown_word': options.style.unknown_word,
      'nltk version': nltk.__version__,
      'pillow version': PIL.__version__,
  }
  # Folders from before there were these must still be recognised.
  settings |= {name: getattr(options, name)
               for name in ('layout', 'max_side', 'jpeg_quality', 'max_words')
               if getattr(options, name) != getattr(Options, name)}
  if options.style.name != Options.style.name:
    settings['caption_style'] = options.style.name
  if options.vocab_file:
    with file_system.open(options.vocab_file, 'rb') as f:
      settings['vocab_file'] = hashlib.sha256(f.read()).hexdigest()
  else:
    settings['min_word_count'] = options.min_word_count
  for split, captioned in splits.items():
    digest = hashlib.sha256()
    for image_id, path, captions in captioned:
      digest.update(json.dumps(
          [image_id, file_system.abspath(path), captions]).encode())
    settings[f'{split} images and captions'] = digest.hexdigest()
    settings[f'{split}_shards'] = options.num_shards[split]
  return settings


def _bad_before(
    output_dir: str, settings: Mapping[str, Any]
) -> dict[str, str] | None:
  """Why paths are no images, as of earlier; None: it has not begun."""
  if not any(file_system.glob(shards.shard_pattern(output_dir, split))
             for split in SPLITS):
    return None
  advice = 'give another --output_dir or empty that folder'
  try:
    with file_system.open(record_path(output_dir), encoding='utf-8') as f:
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


def _unwritten(splits: Splits, options: Options) -> list[str]:
  """Returns the files that a finished build has and this folder has not."""
  paths = [shards.shard_path(options.output_dir, split, i,
                             options.num_shards[split])
           for split in splits for i in range(options.num_shards[split])]
  if not options.vocab_file:
    paths += [options.vocabulary_path,
              caption_styles.path_of(options.vocabulary_path)]
  return [path for path in paths if not file_system.exists(path)]


def _find_bad(
    runner: Runner, splits: Splits, form: stored_images.Form
) -> dict[str, str]:
  """Why paths are no usable images."""
  paths = list(dict.fromkeys(
      image.path for captioned in splits.values() for image in captioned))
  bad = dict(runner.find(functools.partial(_problem, form=form), paths,
                         Label('checking images', 'image')))
  logging.info('checked %d images: %d bad', len(paths), len(bad))
  return bad


def _problem(path: str, form: stored_images.Form) -> tuple[str, str] | None:
  problem = stored_images.problem(path, form)
  return None if problem is None else (path, problem)


def _report_bad(
    bad: Mapping[str, str], splits: Splits, options: Options
) -> None:
  report = _report_path(options.output_dir)
  if not bad:
    # One may be left of an attempt before the images were put right.
    if file_system.exists(report):
      file_system.remove(report)
    return
  _write_text(report, ''.join(
      f'{path}\t{problem}\n' for path, problem in bad.items()))
  total = len({image.path for captioned in splits.values()
               for image in captioned})
  if len(bad) > options.max_bad_fraction * total:
    raise ValueError(
        f'{len(bad)} of {total} images are bad (see {report}), more than '
        f'--max_bad_fraction={options.max_bad_fraction:g}; put them right, or '
        'raise the flag to go on without them')


def _make_vocabulary(
    runner: Runner, splits: Splits, options: Options
) -> vocabulary.Vocabulary:
  path = options.vocabulary_path
  if not options.vocab_file:
    counts = runner.count(
        functools.partial(shards.words_of, style=options.style),
        [caption for image in splits['train'] for caption in image.captions],
        Label('counting words', 'caption'), options.min_word_count)
    file_system.makedirs(os.path.dirname(path) or '.')
    vocabulary.write_word_counts(
        path, vocabulary.most_frequent(counts, options.max_words))
    caption_styles.write(path, options.style)
  vocab = _load_vocabulary(options)
  logging.info('%d words, the unknown word included: %s', len(vocab), path)
  return vocab


def _load_vocabulary(options: Options) -> vocabulary.Vocabulary:
  style = options.style
  return vocabulary.Vocabulary(options.vocabulary_path, style.start_word,
                               style.end_word, style.unknown_word)


def _write_shards(
    runner: Runner, splits: Splits, options: Options, recipe: shards.Recipe
) -> None:
  total = 0
  due = []
  for split, captioned in splits.items():
    items = shards.list_items(captioned, recipe.layout)
    total += len(items)
    due += [shard for shard in shards.assign_shards(
        options.output_dir, split, items, options.num_shards[split])
            if not file_system.exists(shard.path)]
  sizes = [len(shard.items) for shard in due]
  if sum(sizes) < total:
    logging.info('%d %ss are in finished shards already',
                 total - sum(sizes), shards.LAYOUTS[recipe.layout])
  runner.do(functools.partial(_write_shard, recipe=recipe), due, sizes,
            Label('writing shards', 'record'))


def _write_shard(shard: Sequence[Any], recipe: shards.Recipe) -> None:
  # Importing TensorFlow takes seconds, which this process need not spend.
  from data_prep.shards import shard_writer

  path, items = shard
  shard_writer.write_shard(
      shards.Shard(path, [shards.Item(*item) for item in items]), recipe)


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


def record_path(output_dir: str) -> str:
  """Where a build notes what it is of, as soon as it begins to write."""
  return os.path.join(output_dir, 'build.json')


def _report_path(output_dir: str) -> str:
  return os.path.join(output_dir, 'bad_images.txt')
