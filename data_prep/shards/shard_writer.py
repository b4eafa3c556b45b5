"""Write one shard; the only step of a build that needs TensorFlow."""

from data_prep.images import stored_images
from data_prep.shards.items import Item, Recipe, Shard
from data_prep.shards.words import tokenize
from im2txt.inputs import sequence_example


def make_record(item: Item, recipe: Recipe) -> bytes:
  """Read the image and return the serialized SequenceExample of the item."""
  image = stored_images.read_jpeg(item.path, recipe.image_format)
  captions = []
  for raw in item.captions:
    words = tokenize(raw, recipe.style)
    captions.append(sequence_example.Caption(
        words, list(map(recipe.vocab.word_to_id, words)),
        '' if recipe.style.faithful else raw))
  if recipe.layout == 'image':
    example = sequence_example.make_image(
        item.image_id, {sequence_example.IMAGE_DATA: image}, captions)
  else:
    [caption] = captions
    example = sequence_example.make_pair(item.image_id, image, caption)
  # Otherwise maps are written in any order, and a rerun would differ.
  return example.SerializeToString(deterministic=True)


def write_shard(shard: Shard, recipe: Recipe) -> None:
  """Write one shard whole or not at all.

  Args:
    shard: the file, which other processes may be writing too.
    recipe: how its items become records.

  Raises:
    OSError: an image cannot be read or the shard not written.
  """
  sequence_example.write_records(
      shard.path, (make_record(item, recipe) for item in shard.items))
