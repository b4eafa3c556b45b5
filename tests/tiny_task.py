"""The tiny captioning task that command lines are tested on."""

import io
import pathlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tiny_encoder
from PIL import Image, ImageDraw

from im2txt.inputs import sequence_example

WORDS = ('<S>', '</S>', 'a', 'the', 'red', 'green', 'blue', 'square', 'circle',
         'big', 'small', 'on', 'grey', 'left', 'right', '.')
TRAIN_CAPTIONS = (
    'a red square .', 'a big green circle .', 'the blue square on grey .',
    'a small red circle', 'the green square .', 'a blue circle on the left .')
VAL_CAPTIONS = (
    'a green square .', 'the red circle .', 'a big blue circle on grey .',
    'a square', 'a small green circle .', 'the big red square .',
    'a striped circle on the right .')
_CONFIG = """
from im2txt import configuration


def get_config():
  return configuration.Config(
      model=configuration.ModelConfig(
          encoder='{encoder}', image_height=32, image_width=32,
          vocab_size=0, embedding_size=7, num_lstm_units=11, batch_size=3,
          values_per_input_shard=5, num_preprocess_threads=2),
      training=configuration.TrainingConfig(
          num_examples_per_epoch=6, optimizer='Adam',
          initial_learning_rate=0.01, num_epochs_per_decay=1.5, seed=1))
"""


class Task(NamedTuple):
  """Files of the tiny captioning task."""

  folder: pathlib.Path        # all of it
  config_file: pathlib.Path
  vocab_file: pathlib.Path    # beside the shards; 17 words with the unknown
  train_pattern: str          # 6 pairs in 2 shards
  val_pattern: str            # 7 pairs in 2 shards
  val_pairs: list[tuple[bytes, list[int]]]  # in the shards' order
  images: list[pathlib.Path]              # red, green and blue

  @classmethod
  def in_folder(cls, folder: pathlib.Path) -> 'Task':
    """Return the task whose files lie in a folder."""
    return cls(
        folder, folder / 'tiny.py', folder / 'word_counts.txt',
        str(folder / 'train-?????-of-00002'),
        str(folder / 'val-?????-of-00002'),
        [make_pair(caption)[::2] for caption in VAL_CAPTIONS],
        [folder / f'{colour}.jpg' for colour in ('red', 'green', 'blue')])


def draw_image(colour: str, shape: str, size=(64, 48)) -> bytes:
  """A JPEG of a shape on grey."""
  image = Image.new('RGB', size, 'grey')
  pen = ImageDraw.Draw(image)
  draw = {'square': pen.rectangle, 'circle': pen.ellipse}[shape]
  draw((12, 4, 52, 44), fill=colour)
  buffer = io.BytesIO()
  image.save(buffer, 'JPEG', quality=90)
  return buffer.getvalue()


def make_pair(caption: str) -> tuple[bytes, list[str], list[int]]:
  """Image, words and ids of a caption."""
  words = ['<S>', *caption.split(), '</S>']
  ids = [WORDS.index(w) if w in WORDS else len(WORDS) for w in words]
  colour = next((w for w in words if w in ('red', 'green', 'blue')), 'white')
  shape = 'square' if 'square' in words else 'circle'
  return draw_image(colour, shape), words, ids


def write_shard(path: pathlib.Path, captions: tuple[str, ...]) -> None:
  """Write a shard of drawn images."""
  with tf.io.TFRecordWriter(str(path)) as writer:
    for i, caption in enumerate(captions):
      encoded_image, words, ids = make_pair(caption)
      writer.write(sequence_example.make_pair(
          i, encoded_image, sequence_example.Caption(
              words, ids)).SerializeToString())


def config_text(encoder: str = tiny_encoder.NAME) -> str:
  """Return the text of the task's configuration file, with an encoder."""
  return _CONFIG.format(encoder=encoder)


def write(folder: pathlib.Path) -> None:
  """Write the task's files into an empty folder; `Task` says which."""
  task = Task.in_folder(folder)
  task.config_file.write_text(config_text())
  task.vocab_file.write_text(''.join(
      f'{word} {99 - i}\n' for i, word in enumerate(WORDS)))
  for name, captions in (('train', TRAIN_CAPTIONS), ('val', VAL_CAPTIONS)):
    write_shard(folder / f'{name}-00000-of-00002', captions[:4])
    write_shard(folder / f'{name}-00001-of-00002', captions[4:])
  for image in task.images:
    image.write_bytes(draw_image(image.stem, 'square'))


class Run(NamedTuple):
  """A trained run."""

  folder: pathlib.Path  # checkpoints of steps 0 and 6
  log: list[str]        # what training said


# .5 * .2 and .5 * .5 * .2; `square` alone, .19 * .2, is the fourth.
BEST = (' (p=0.200000)', 'red (p=0.100000)', 'red red (p=0.050000)')


def biases(**probabilities):
  """Biases that make these words as probable whatever comes before.

  The rest of the probability is shared out among the other words.
  """
  given = {word.replace('end', '</S>').replace('stop', '.'): p
           for word, p in probabilities.items()}
  share = (1 - sum(given.values())) / (17 - len(given))
  values = [given.get(word, share) for word in (*WORDS, '<UNK>')]
  return np.log(np.maximum(values, 1e-30)).astype(np.float32)


def block(name, *lines):
  """What is printed for an image."""
  return ''.join(f'{line}\n' for line in (
      f'Captions for image {name}:',
      *(f'  {i}) {line}' for i, line in enumerate(lines))))
