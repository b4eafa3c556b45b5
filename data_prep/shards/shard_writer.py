"""Writes one shard; the only step that needs TensorFlow."""

from data_prep.images import stored_images
from data_prep.shards.items import Item, Recipe, Shard, words_of
from im2txt.inputs import sequence_example


def make_record(item: Item, recipe: Recipe) -> bytes:
  """Reads the image and returns the item's serialized SequenceExample."""
  image = stored_images.read(item.path, recipe.form)
  captions = []
  for raw in item.captions:
    words = words_of(raw, recipe.style)
    captions.append(sequence_example.Caption(
        words, list(map(recipe.vocab.word_to_id, words)),
        '' if recipe.style.faithful else raw))
  if recipe.layout == 'image':
    example = sequence_example.make_image(
        item.image_id, {sequence_example.IMAGE_DATA: image}, captions)
  else:
    [caption] = captions
    example = sequence_example.make_pair(item.image_id, image, caption)
  # Maps are otherwise written in any order, and a rerun would differ.
  return example.SerializeToString(deterministic=True)


def write_shard(shard: Shard, recipe: Recipe) -> None:
  """Writes one shard whole or not at all.

  Args:
    shard: the file, which other processes may be writing, too.
    recipe: makes its records.

  Raises:
    OSError: an image cannot be read or the shard not written.
  """
  sequence_example.write_records(
      shard.path, (make_record(item, recipe) for item in shard.items))
