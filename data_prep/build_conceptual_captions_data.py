r"""Builds TFRecord shards of Conceptual Captions (Sharma et al., ACL 2018).

The data set (ai.google.com/research/ConceptualCaptions) is TSV files of
captions and addresses, a line `CAPTION<TAB>URL` each. The images have to lie
in --image_dir, each named by the SHA-256 of its address, with any ending of an
image or none:

  printf %s "$URL" | sha256sum

or as a third cell of the line says: `CAPTION<TAB>URL<TAB>FILE`. Captions whose
image is not there are left out and counted, and so are validation captions of
training images.

Nothing is fetched without --fetch. With it, images that are missing are
downloaded first, as far as they can still be had; after a break the same
command goes on. --image_dir then has a journal, fetch.jsonl, of what failed
and why. Once --output_dir has a build of these images, no more are fetched.

Example:
  python -m data_prep.build_conceptual_captions_data \
    --train_captions_file=Train_GCC-training.tsv \
    --val_captions_file=Validation_GCC-1.1.0-Validation.tsv \
    --image_dir=conceptual_captions_photos --fetch \
    --max_side=346 \
    --output_dir=conceptual_captions_shards
"""

from absl import flags, logging

from data_prep.datasets import conceptual_captions
from data_prep.datasets.captioned_images import check_folder
from data_prep.images import image_fetcher
from data_prep.shards import flags as build_flags
from data_prep.shards.build import build, build_json_path
from im2txt import command_line
from im2txt.files import file_system

FLAGS = flags.FLAGS

_LIMITS = image_fetcher.Limits()

flags.DEFINE_string('train_captions_file', None, 'Train_GCC-training.tsv.')
flags.DEFINE_string('val_captions_file', None,
                    'Validation_GCC-1.1.0-Validation.tsv.')
flags.DEFINE_string('image_dir', None, 'Folder of the images; with --fetch '
                    'made if it is not there.')
flags.mark_flag_as_required('image_dir')
flags.DEFINE_bool('fetch', False, 'Download the images that are missing.')
flags.DEFINE_bool('retry_failed', False, 'With --fetch: ask addresses again '
                  'that failed for good (gone, no image, too large).')
flags.DEFINE_integer('fetch_threads', 16, 'Downloads at a time.',
                     lower_bound=1)
flags.DEFINE_integer('fetch_retries', _LIMITS.retries,
                     'Further tries of a download that broke off or came to a '
                     'busy server, after waits of 1, 2, 4 ... seconds.',
                     lower_bound=0)
flags.DEFINE_float('fetch_timeout_secs', _LIMITS.timeout_secs,
                   'Seconds that a server may be silent before a download '
                   'counts as broken off.', lower_bound=0.1)
flags.DEFINE_float('max_photo_secs', _LIMITS.total_secs,
                   'Seconds that one try of an image may take in all.',
                   lower_bound=0.1)
flags.DEFINE_integer('max_photo_bytes', _LIMITS.max_bytes,
                     'Larger images are not fetched.', lower_bound=1)
build_flags.define(train_shards=256, val_shards=4, test_shards=1)


def main() -> None:
  options = build_flags.options()
  captions_files = {
      split: path for split, path in (('train', FLAGS.train_captions_file),
                                      ('val', FLAGS.val_captions_file))
      if path}
  if not captions_files:
    raise ValueError(
        'give --train_captions_file, --val_captions_file or both')
  if FLAGS.retry_failed and not FLAGS.fetch:
    raise ValueError('--retry_failed needs --fetch')
  if FLAGS.fetch:
    # More images would be another build, which cannot go on from this one.
    if file_system.exists(build_json_path(options.output_dir)):
      logging.info('fetching nothing: the build in %s goes on with the images '
                   'that %s has; to fetch more, give another --output_dir',
                   options.output_dir, FLAGS.image_dir)
    else:
      _fetch(captions_files)
  check_folder(FLAGS.image_dir, 'image_dir')
  build(conceptual_captions.read_splits(captions_files, FLAGS.image_dir),
        options)


def _fetch(captions_files: dict[str, str]) -> None:
  file_system.check_local(FLAGS.image_dir, 'image_dir',
                          '--fetch keeps a journal there')
  file_system.makedirs(FLAGS.image_dir)
  # Finds a broken line, too, before days of fetching and not after them.
  total = sum(1 for _ in conceptual_captions.missing_images(
      captions_files, FLAGS.image_dir))
  image_fetcher.fetch(
      conceptual_captions.missing_images(captions_files, FLAGS.image_dir),
      FLAGS.image_dir,
      _LIMITS._replace(
          timeout_secs=FLAGS.fetch_timeout_secs,
          total_secs=FLAGS.max_photo_secs,
          max_bytes=FLAGS.max_photo_bytes,
          retries=FLAGS.fetch_retries),
      FLAGS.fetch_threads,
      FLAGS.retry_failed,
      total)


if __name__ == '__main__':
  command_line.run(main)
