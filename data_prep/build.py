"""Runs a build on this machine: captioned pictures in, a folder of shards out.

The folder then holds:
  train-00000-of-00256 ...  the records, likewise val-* and test-*
  word_counts.txt           the vocabulary, unless it is kept elsewhere
  word_counts.style.json    how its captions became words
  images.tsv                split, id and file of every picture in the shards
  bad_images.txt            skipped files and why, if there were any
  build.json                what was built from what, so that a build that
                            was cut short goes on and no two are ever mixed
"""

import csv
import dataclasses
import functools
import glob
import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, NamedTuple

import nltk
import PIL
from absl import logging
from tqdm import tqdm

from data_prep import images, shards
from data_prep.captioned_images import (
    SPLITS,
    CaptionedImage,
    Splits,
    sample_pairs,
)
from data_prep.worker_pool import (
    available_cpus,
    map_in_chunks,
    worker_pool,
)
from im2txt import caption_styles, vocabulary, whole_file


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
  max_workers: int = 8

  @property
  def vocabulary_path(self) -> str:
    """The vocabulary that the records' ids refer to."""
    return (self.vocab_file or self.word_counts_output_file
            or os.path.join(self.output_dir, vocabulary.FILE_NAME))

  @property
  def form(self) -> images.Form:
    """How pictures are stored."""
    return images.Form(self.max_side, self.jpeg_quality)


class Checked(NamedTuple):
  """What the check of all pictures found.

  Attributes:
    bad: why a path is no usable picture.
    reencode: paths whose files are not stored as they are.
  """
  bad: Mapping[str, str]
  reencode: Collection[str]


def build(splits: Splits, options: Options) -> None:
  """Builds the shards of every split, or those that are still to do.

  Args:
    splits: the captioned pictures.
    options: see there.

  Raises:
    ValueError: the splits and the options do not fit, the output folder holds
      another build, or too many pictures are bad.
    OSError: a file cannot be read or written, or a worker died.
  """
  if options.max_pairs is not None:
    splits = sample_pairs(splits, options.max_pairs)
  try:
    _build(splits, options)
  except KeyboardInterrupt:
    raise InterruptedError(
        'interrupted; the same command goes on from here') from None


def _build(splits: Splits, options: Options) -> None:
  _check_request(splits, options)
  os.makedirs(options.output_dir, exist_ok=True)
  settings = _settings(splits, options)
  checked = _checked_before(options.output_dir, settings)
  if checked and not _unwritten(splits, options):
    logging.info('%s holds this whole build already; nothing to do',
                 options.output_dir)
    return
  workers = min(options.max_workers, available_cpus())
  logging.info('%d worker processes', workers)
  try:
    with worker_pool(workers, ['data_prep.shard_writer']) as pool:
      checked = checked or _check_pictures(pool, splits, options.form)
      _report_bad(checked.bad, splits, options)
      splits = {split: [image for image in captioned
                        if image.path not in checked.bad]
                for split, captioned in splits.items()}
      _check_request(splits, options)
      splits = _tokenize(pool, splits, options)
      vocab = _make_vocabulary(splits, options)
      _write_images_tsv(splits, options.output_dir)
      # From here on the folder is this build's.
      _write_json(record_path(options.output_dir), {
          'settings': settings,
          'bad': checked.bad,
          'reencode': sorted(checked.reencode)})
      _write_shards(pool, splits, checked.reencode, options, shards.Recipe(
          options.layout, options.form, vocab))
  finally:
    for split in SPLITS:
      for path in glob.glob(
          shards.temporary_pattern(options.output_dir, split)):
        os.remove(path)
  for split, captioned in splits.items():
    logging.info('%s: %d pictures, %d image-caption pairs in %d shards', split,
                 len(captioned), _count_pairs(captioned),
                 options.num_shards[split])
  if checked.bad:
    logging.warning(
        '%d bad pictures were left out (%s%s); see %s', len(checked.bad),
        ', '.join(list(checked.bad)[:3]), ' ...' * (len(checked.bad) > 3),
        _report_path(options.output_dir))


def _check_request(splits: Splits, options: Options) -> None:
  if not splits:
    raise ValueError('no split to build: give at least one list of pictures')
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
    with open(options.vocab_file, 'rb') as f:
      settings['vocab_file'] = hashlib.sha256(f.read()).hexdigest()
  else:
    settings['min_word_count'] = options.min_word_count
  for split, captioned in splits.items():
    digest = hashlib.sha256()
    for image_id, path, captions in captioned:
      digest.update(json.dumps(
          [image_id, os.path.abspath(path), captions]).encode())
    settings[f'{split} pictures and captions'] = digest.hexdigest()
    settings[f'{split}_shards'] = options.num_shards[split]
  return settings


def _checked_before(
    output_dir: str, settings: Mapping[str, Any]
) -> Checked | None:
  """Returns what this build found earlier, None if it has not begun."""
  if not any(glob.glob(shards.shard_pattern(output_dir, split))
             for split in SPLITS):
    return None
  advice = 'give another --output_dir or empty that folder'
  try:
    with open(record_path(output_dir), encoding='utf-8') as f:
      record = json.load(f)
    begun = record['settings']
    checked = Checked(record['bad'], frozenset(record['reencode']))
  except (OSError, ValueError, KeyError, TypeError):
    raise ValueError(f'{output_dir} holds shards of unknown origin '
                     f'(no readable build.json); {advice}') from None
  differing = [key for key in sorted({*begun, *settings})
               if begun.get(key) != settings.get(key)]
  if differing:
    raise ValueError(f'{output_dir} holds shards of another build, which '
                     f'differs in {", ".join(differing)}; {advice}')
  return checked


def _unwritten(splits: Splits, options: Options) -> list[str]:
  """Returns the files that a finished build has and this folder has not."""
  paths = [shards.shard_path(options.output_dir, split, i,
                             options.num_shards[split])
           for split in splits for i in range(options.num_shards[split])]
  if not options.vocab_file:
    paths += [options.vocabulary_path,
              caption_styles.path_of(options.vocabulary_path)]
  return [path for path in paths if not os.path.exists(path)]


def _check_pictures(
    pool: ProcessPoolExecutor, splits: Splits, form: images.Form
) -> Checked:
  paths = list(dict.fromkeys(
      image.path for captioned in splits.values() for image in captioned))
  judge = functools.partial(images.judge, form=form)
  verdicts = list(tqdm(map_in_chunks(pool, judge, paths, 16),
                       desc='checking pictures', total=len(paths),
                       unit='picture', disable=None))
  by_path = dict(zip(paths, verdicts, strict=True))
  checked = Checked(
      {path: verdict.problem for path, verdict in by_path.items()
       if verdict.problem},
      frozenset(path for path, verdict in by_path.items()
                if verdict.reencode))
  logging.info('checked %d pictures: %d bad, %d re-encoded as plain JPEG%s',
               len(paths), len(checked.bad), len(checked.reencode),
               f' of at most {form.max_side} pixels a side' * bool(
                   form.max_side))
  return checked


def _report_bad(
    bad: Mapping[str, str], splits: Splits, options: Options
) -> None:
  report = _report_path(options.output_dir)
  if not bad:
    # One may be left of an attempt before the pictures were put right.
    if os.path.exists(report):
      os.remove(report)
    return
  _write_text(report, ''.join(
      f'{path}\t{problem}\n' for path, problem in bad.items()))
  total = len({image.path for captioned in splits.values()
               for image in captioned})
  if len(bad) > options.max_bad_fraction * total:
    raise ValueError(
        f'{len(bad)} of {total} pictures are bad (see {report}), more than '
        f'--max_bad_fraction={options.max_bad_fraction:g}; put them right, or '
        'raise the flag to go on without them')


def _tokenize(
    pool: ProcessPoolExecutor, splits: Splits, options: Options
) -> Splits:
  """Returns the pictures with captions as `shards.Item` has them."""
  captions = [caption for captioned in splits.values()
              for image in captioned for caption in image.captions]
  tokenize = functools.partial(_tokenize_caption, options.style)
  tokenized = iter(list(tqdm(
      map_in_chunks(pool, tokenize, captions, 200), desc='reading captions',
      total=len(captions), unit='caption', disable=None)))
  return {split: [image._replace(captions=[next(tokenized)
                                           for _ in image.captions])
                  for image in captioned]
          for split, captioned in splits.items()}


def _tokenize_caption(
    style: caption_styles.CaptionStyle, caption: str
) -> shards.ItemCaption:
  return shards.ItemCaption(' '.join(style.tokenize(caption)),
                            '' if style.faithful else caption)


def _make_vocabulary(
    splits: Splits, options: Options
) -> vocabulary.Vocabulary:
  path = options.vocabulary_path
  if not options.vocab_file:
    counts = vocabulary.count_words(
        (caption.words.split() for image in splits['train']
         for caption in image.captions),
        options.min_word_count, options.max_words)
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    vocabulary.write_word_counts(path, counts)
    caption_styles.write(path, options.style)
  vocab = _load_vocabulary(options)
  logging.info('%d words, the unknown word included: %s', len(vocab), path)
  return vocab


def _load_vocabulary(options: Options) -> vocabulary.Vocabulary:
  style = options.style
  return vocabulary.Vocabulary(options.vocabulary_path, style.start_word,
                               style.end_word, style.unknown_word)


def _write_shards(
    pool: ProcessPoolExecutor,
    splits: Splits,
    reencode: Collection[str],
    options: Options,
    recipe: shards.Recipe,
) -> None:
  total = 0
  jobs = {}
  for split, captioned in splits.items():
    items = shards.list_items(captioned, reencode, recipe.layout)
    total += len(items)
    for shard in shards.assign_shards(options.output_dir, split, items,
                                      options.num_shards[split]):
      if not os.path.exists(shard.path):
        jobs[pool.submit(_write_shard, shard, recipe)] = shard
  to_write = sum(len(shard.items) for shard in jobs.values())
  if to_write < total:
    logging.info('%d %ss are in finished shards already',
                 total - to_write, shards.LAYOUTS[recipe.layout])
  with tqdm(desc='writing shards', initial=total - to_write, total=total,
            unit='record', disable=None) as bar:
    for job in as_completed(jobs):
      job.result()
      bar.update(len(jobs[job].items))


def _write_shard(shard: shards.Shard, recipe: shards.Recipe) -> None:
  # Importing TensorFlow takes seconds, which this process need not spend.
  from data_prep import shard_writer

  shard_writer.write_shard(shard, recipe)


def _write_images_tsv(splits: Splits, output_dir: str) -> None:
  path = os.path.join(output_dir, 'images.tsv')
  with whole_file.write(path) as f:
    table = csv.writer(f, delimiter='\t', lineterminator='\n')
    table.writerow(['split', 'image_id', 'file'])
    for split, captioned in splits.items():
      table.writerows([split, image.image_id, image.path]
                      for image in captioned)


def _write_json(path: str, value: Any) -> None:
  _write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + '\n')


def _write_text(path: str, text: str) -> None:
  with whole_file.write(path) as f:
    f.write(text)


def record_path(output_dir: str) -> str:
  """Where a build notes what it is of, as soon as it begins to write."""
  return os.path.join(output_dir, 'build.json')


def _report_path(output_dir: str) -> str:
  return os.path.join(output_dir, 'bad_images.txt')
