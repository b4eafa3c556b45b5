r"""Build TFRecord shards of Conceptual Captions (Sharma et al., ACL 2018).

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
from data_prep.shards.build import build, build_json_path
from data_prep.shards.flags import BuildFlags
from im2txt import command_line
from im2txt.files import file_system

_LIMITS = image_fetcher.Limits()


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.train_captions_file = flags.DEFINE_string(
        'train_captions_file', None, 'Train_GCC-training.tsv.',
        flag_values=values)
    self.val_captions_file = flags.DEFINE_string(
        'val_captions_file', None, 'Validation_GCC-1.1.0-Validation.tsv.',
        flag_values=values)
    self.image_dir = flags.DEFINE_string(
        'image_dir', None, 'Folder of the images; with --fetch made if it is '
        'not there.', required=True, flag_values=values)
    self.fetch = flags.DEFINE_bool(
        'fetch', False, 'Download the images that are missing.',
        flag_values=values)
    self.retry_failed = flags.DEFINE_bool(
        'retry_failed', False, 'With --fetch: ask addresses again that failed '
        'for good (gone, no image, too large).', flag_values=values)
    self.fetch_threads = flags.DEFINE_integer(
        'fetch_threads', 16, 'Downloads at a time.', lower_bound=1,
        flag_values=values)
    self.fetch_retries = flags.DEFINE_integer(
        'fetch_retries', _LIMITS.retries, 'Further tries of a download that '
        'broke off or came to a busy server, after waits of 1, 2, 4 ... '
        'seconds.', lower_bound=0, flag_values=values)
    self.fetch_timeout_secs = flags.DEFINE_float(
        'fetch_timeout_secs', _LIMITS.timeout_secs, 'Seconds that a server may '
        'be silent before a download counts as broken off.', lower_bound=0.1,
        flag_values=values)
    self.max_photo_secs = flags.DEFINE_float(
        'max_photo_secs', _LIMITS.total_secs, 'Seconds that one try of an '
        'image may take in all.', lower_bound=0.1, flag_values=values)
    self.max_photo_bytes = flags.DEFINE_integer(
        'max_photo_bytes', _LIMITS.max_bytes, 'Larger images are not fetched.',
        lower_bound=1, flag_values=values)
    self.build = BuildFlags(
        train_shards=256, val_shards=4, test_shards=1, values=values)


def main(flags_: Flags) -> None:
  options = flags_.build.options()
  image_dir = flags_.image_dir.value
  captions_files = {
      split: flag.value for split, flag in (
          ('train', flags_.train_captions_file),
          ('val', flags_.val_captions_file)) if flag.value}
  if not captions_files:
    raise ValueError(
        'give --train_captions_file, --val_captions_file or both')
  if flags_.retry_failed.value and not flags_.fetch.value:
    raise ValueError('--retry_failed needs --fetch')
  if flags_.fetch.value:
    # More images would be another build, which cannot go on from this one.
    if file_system.exists(build_json_path(options.output_dir)):
      logging.info('fetching nothing: the build in %s goes on with the images '
                   'that %s has; to fetch more, give another --output_dir',
                   options.output_dir, image_dir)
    else:
      _fetch(flags_, captions_files)
  check_folder(image_dir, 'image_dir')
  build(conceptual_captions.read_splits(captions_files, image_dir), options)


def _fetch(flags_: Flags, captions_files: dict[str, str]) -> None:
  image_dir = flags_.image_dir.value
  file_system.check_local(image_dir, 'image_dir',
                          '--fetch keeps a journal there')
  file_system.makedirs(image_dir)
  # Finds a broken line, too, before days of fetching and not after them.
  total = sum(1 for _ in conceptual_captions.missing_images(
      captions_files, image_dir))
  image_fetcher.fetch(
      conceptual_captions.missing_images(captions_files, image_dir),
      image_dir,
      _LIMITS._replace(
          timeout_secs=flags_.fetch_timeout_secs.value,
          total_secs=flags_.max_photo_secs.value,
          max_bytes=flags_.max_photo_bytes.value,
          retries=flags_.fetch_retries.value),
      flags_.fetch_threads.value,
      flags_.retry_failed.value,
      total)


if __name__ == '__main__':
  command_line.run(main, Flags)
