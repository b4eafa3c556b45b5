"""Initial values of word layers: word vectors and word frequencies."""

import contextlib

import numpy as np
from absl import logging

from im2txt import configuration
from im2txt.decoders import word_layers
from im2txt.files import text_files
from im2txt.models import losses
from im2txt.text import vocabulary


def find_width(config: configuration.ModelConfig) -> int:
  """Return the width of the word embeddings: of the word vectors, if any.

  Raises:
    OSError: the file of the word vectors cannot be read.
    ValueError: `embedding_size` is 0 and there is none, its vectors are of
      another width, or it is none of word vectors.
  """
  if not config.word_vectors_file:
    if not config.embedding_size:
      raise ValueError('embedding_size is 0, the width of the word vectors; '
                       'give --config.model.word_vectors_file')
    return config.embedding_size
  with contextlib.closing(
      text_files.lines(config.word_vectors_file)) as lines:
    _, line = next(lines, (1, ''))
  width = len(_vector(line, f'{config.word_vectors_file}:1')[1])
  if config.embedding_size not in (0, width):
    raise ValueError(
        f'{config.word_vectors_file} has vectors of {width} numbers, but '
        f'embedding_size is {config.embedding_size}; 0 takes what is there')
  return width


def read_vectors(
    path: str, vocab: vocabulary.Vocabulary
) -> dict[int, np.ndarray]:
  """Read the vectors of a vocabulary's words.

  Args:
    path: GloVe's text format, a word and its numbers a line; gzipped, if its
      name ends in .gz.
    vocab: the words.

  Returns:
    float32 [E] by word id, of the words that the file has.

  Raises:
    OSError: the file cannot be read.
    ValueError: a line is not of that form.
  """
  vectors: dict[int, np.ndarray] = {}
  width = None
  for number, line in text_files.lines(path):
    word = line.rstrip().partition(' ')[0]
    word_id = vocab.word_to_id(word)
    if width is not None and (
        vocab.id_to_word(word_id) != word or _is_phrase(line, width)):
      continue
    _, vector = _vector(line, f'{path}:{number}')
    width = width or len(vector)
    if len(vector) != width:
      raise ValueError(f'{path}:{number}: {len(vector)} numbers, the first '
                       f'line has {width}')
    if vocab.id_to_word(word_id) == word:
      vectors.setdefault(word_id, vector)
  return vectors


def _is_phrase(line: str, width: int) -> bool:
  """Return whether a line's word has spaces, as some of glove.840B.300d do.

  For example `at name@domain.com 0.1 ...`.
  """
  parts = line.rstrip().split(' ')
  if len(parts) <= 1 + width:
    return False
  try:
    float(parts[1])
  except ValueError:
    return True
  return False


def _vector(line: str, where: str) -> tuple[str, np.ndarray]:
  word, *numbers = line.rstrip().split(' ')
  try:
    vector = np.array(numbers, np.float32)
    if len(vector) < 2 or not np.isfinite(vector).all():
      raise ValueError
  except ValueError:
    raise ValueError(f'{where}: no word and its vector, as of GloVe: '
                     f'{line.rstrip()[:40]!r}') from None
  return word, vector


def log_frequencies(
    vocab_file: str, vocab: vocabulary.Vocabulary, vocab_size: int
) -> np.ndarray:
  """Return initial output biases that predict words by their frequency.

  Args:
    vocab_file: the vocabulary with its counts.
    vocab: the same, read.
    vocab_size: outputs of the model.

  Returns:
    float32 [vocab_size], nats; `losses.BANNED` for the start marker, the
    unknown word and outputs that no word has.

  Raises:
    ValueError: a line has no count.
  """
  counts = np.zeros(vocab_size)
  for word_id, count in enumerate(vocabulary.read_counts(vocab_file)):
    counts[word_id] = count
  counts[[vocab.start_id, vocab.unk_id]] = 0
  with np.errstate(divide='ignore'):
    logs = np.log(counts / counts.sum())
  return np.where(counts > 0, logs, losses.BANNED).astype(np.float32)


def first_values(
    config: configuration.ModelConfig, vocab_file: str | None
) -> dict[str, np.ndarray]:
  """Return the initial values of word layers that are not random.

  Args:
    config: the model, with its final sizes.
    vocab_file: its vocabulary.

  Returns:
    Values by variable name.

  Raises:
    OSError: a file cannot be read.
    ValueError: there is no vocabulary, a file is not of its form, or vectors
      that are not trained come from none.
  """
  if not (config.word_vectors_file or config.train_word_vectors):
    raise ValueError('train_word_vectors is false, but no word_vectors_file '
                     'gives the vectors')
  if not (config.word_vectors_file or config.bias_from_counts):
    return {}
  if vocab_file is None:
    raise ValueError('word_vectors_file and bias_from_counts need the '
                     'vocabulary; give --vocab_file')
  vocab = vocabulary.Vocabulary(
      vocab_file, config.start_word, config.end_word, config.unknown_word)
  values = {}
  if config.word_vectors_file:
    found = read_vectors(config.word_vectors_file, vocab)
    vectors = np.zeros([config.vocab_size, config.embedding_size], np.float32)
    for word_id, vector in found.items():
      vectors[word_id] = vector
    values[word_layers.EMBEDDING] = vectors
    logging.info('%s: has vectors of %d of the %d words; %d begin at zero',
                 config.word_vectors_file, len(found), len(vocab),
                 len(vocab) - len(found))
  if config.bias_from_counts:
    values[word_layers.BIASES] = log_frequencies(
        vocab_file, vocab, config.vocab_size)
  return values
