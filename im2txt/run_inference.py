r"""Captions pictures.

  python -m im2txt.run_inference --checkpoint_path=runs/coco \
    --input_files='photos/*.jpg,more/*.png'

prints, best first, im2txt's lines:

  Captions for image surf.jpg:
    0) a man riding a wave on top of a surfboard . (p=0.040413)
    1) a person riding a surf board on a wave (p=0.017452)

A checkpoint of im2txt itself works too; it needs its --vocab_file.
"""

import math
import os
import sys

import tensorflow as tf
import tqdm
from absl import flags

from im2txt import (
    caption_generator,
    captioner,
    checkpoints,
    command_line,
    configuration,
    contact_sheet,
    graph_errors,
    inference_wrapper,
    inputs,
    vocabulary,
)

tf1 = tf.compat.v1

_MAX_ON_SHEET = 48

_CHECKPOINT_PATH = flags.DEFINE_string(
    'checkpoint_path', None, 'A checkpoint, or a run folder whose newest one '
    'is used.', required=True)
_VOCAB_FILE = flags.DEFINE_string(
    'vocab_file', None, 'The vocabulary. Default: the one in the run folder.')
_INPUT_FILES = flags.DEFINE_string(
    'input_files', None, 'Comma-separated files or patterns of pictures; for '
    "example 'photos/*.jpg'.", required=True)
_BEAM_SIZE = flags.DEFINE_integer(
    'beam_size', 3, 'Captions kept at each step of the search, and printed.',
    lower_bound=1)
_MAX_CAPTION_LENGTH = flags.DEFINE_integer(
    'max_caption_length', 20, 'Longest caption in words, both markers '
    'counted.', lower_bound=2)
_LENGTH_NORMALIZATION_FACTOR = flags.DEFINE_float(
    'length_normalization_factor', 0.0, 'Above 0, longer captions are '
    'favoured: log probabilities are divided by length to this power.',
    lower_bound=0.0)
_CONTACT_SHEET = flags.DEFINE_string(
    'contact_sheet', None, 'Also draw the pictures with their captions into '
    f'this file (.png or .jpg); the first {_MAX_ON_SHEET} of them.')


def load_config(prefix: str) -> configuration.ModelConfig:
  """The configuration beside a checkpoint, or else im2txt's."""
  folder = os.path.dirname(prefix)
  if os.path.exists(os.path.join(folder, configuration.CONFIG_FILE)):
    return captioner.load_config(folder).model
  return checkpoints.im2txt_config(prefix)


def load_vocabulary(
    config: configuration.ModelConfig, prefix: str, vocab_file: str | None
) -> vocabulary.Vocabulary:
  """Reads the vocabulary and sees that it fits the model.

  Args:
    config: the model.
    prefix: its checkpoint.
    vocab_file: the vocabulary; None: the one beside the checkpoint.

  Raises:
    OSError: it cannot be read.
    ValueError: it has more words than the model has outputs.
  """
  if vocab_file is None:
    vocab_file = os.path.join(os.path.dirname(prefix), vocabulary.FILE_NAME)
    if not os.path.exists(vocab_file):
      raise ValueError(f'{vocab_file} does not exist; give --vocab_file')
  vocab = vocabulary.Vocabulary(
      vocab_file, config.start_word, config.end_word, config.unknown_word)
  if len(vocab) > config.vocab_size:
    raise ValueError(
        f'{vocab_file} has {len(vocab)} words, the unknown one included, but '
        f'{prefix} has outputs for {config.vocab_size}: it is not the '
        'vocabulary of this model')
  return vocab


def to_sentence(
    caption: caption_generator.Caption, vocab: vocabulary.Vocabulary
) -> str:
  """The caption's words without markers; an unfinished one loses no word."""
  markers = (vocab.start_id, vocab.end_id)
  return ' '.join(vocab.id_to_word(word) for word in caption.sentence
                  if word not in markers)


def check_contact_sheet(path: str) -> None:
  """Raises ValueError where a sheet could not be written in the end."""
  if not path.lower().endswith(('.png', '.jpg', '.jpeg')):
    raise ValueError(f'--contact_sheet={path} must end in .png or .jpg')
  if not os.path.isdir(os.path.dirname(path) or '.'):
    raise ValueError(f'--contact_sheet={path}: there is no such folder')


def main() -> int:
  """Reads the flags and captions; returns 1 if a picture was unreadable."""
  if _CONTACT_SHEET.value:
    check_contact_sheet(_CONTACT_SHEET.value)
  prefix = checkpoints.latest(_CHECKPOINT_PATH.value)
  config = load_config(prefix)
  vocab = load_vocabulary(config, prefix, _VOCAB_FILE.value)
  unreadable = 0
  files = []
  for pattern in _INPUT_FILES.value.split(','):
    try:
      files += inputs.find_files(pattern, 'input_files')
    except ValueError as error:
      print(error, file=sys.stderr)
      unreadable += 1
  sheet = []
  with tf.Graph().as_default(), tf1.Session() as session:
    model = inference_wrapper.InferenceWrapper()
    model.build_graph_from_config(config, prefix)(session)
    generator = caption_generator.CaptionGenerator(
        model, vocab, _BEAM_SIZE.value, _MAX_CAPTION_LENGTH.value,
        _LENGTH_NORMALIZATION_FACTOR.value)
    # On a terminal the captions themselves show the progress.
    for file in tqdm.tqdm(files, unit='picture', disable=(
        sys.stdout.isatty() or None)):
      try:
        with tf.io.gfile.GFile(file, 'rb') as f:
          encoded_image = f.read()
        captions = generator.beam_search(session, encoded_image)
      except tf.errors.OpError as error:
        print(f'{file}: cannot be read: {graph_errors.reason(error)}',
              file=sys.stderr)
        unreadable += 1
        continue
      named = [(to_sentence(caption, vocab), math.exp(caption.logprob))
               for caption in captions]
      print(f'Captions for image {os.path.basename(file)}:')
      for i, (sentence, probability) in enumerate(named):
        print(f'  {i}) {sentence} (p={probability:f})', flush=True)
      if _CONTACT_SHEET.value and len(sheet) < _MAX_ON_SHEET:
        sheet.append(contact_sheet.Entry(
            os.path.basename(file), encoded_image, named))
  if sheet:
    contact_sheet.draw(sheet).save(_CONTACT_SHEET.value)
  return 1 if unreadable else 0


if __name__ == '__main__':
  command_line.run(main)
