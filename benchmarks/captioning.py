r"""How fast each way to caption is, beside the encoder and the arithmetic.

  python -m benchmarks.captioning                     # Inception v3
  python -m benchmarks.captioning --encoder=efficientnet_lite0 \
    --vocab_size=2933 --image_size=224
  python -m benchmarks.captioning --quick

All in one process, on the same weights, drawn at random, and on the same
images: with such weights captions do not end before the greatest length.
`search` is the time of the search alone, from encoded images; `whole` also
has the encoder, reading and decoding the JPEGs, as run_inference has them; it
is timed in turn with the encoder alone, and `of encoder/s` is the median of
their ratios. The floor is the decoder's multiply-adds over the rate of a large
matrix product that is measured in the same run. Times are the best of all
rounds.
"""

import contextlib
import functools
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks import classic_search, images
from benchmarks.model_flags import ModelFlags
from benchmarks.timing import best_time, matrix_rate
from im2txt import command_line, configuration, inference_wrapper
from im2txt.caption_generator import CaptionGenerator
from im2txt.checkpoints import restore
from im2txt.checkpoints.trained_model import TrainedModel
from im2txt.inference import batch_captioner, loaded_model
from im2txt.models.captioner import Captioner
from im2txt.search import beam_search
from im2txt.search.rules import Rules
from im2txt.text import vocabulary

tf1 = tf.compat.v1


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.model = ModelFlags(values)
    self.beam_size = flags.DEFINE_integer(
        'beam_size', 3, 'Of all searches.', lower_bound=1, flag_values=values)
    self.max_caption_length = flags.DEFINE_integer(
        'max_caption_length', 20, 'In words, both markers counted.',
        lower_bound=3, flag_values=values)
    self.batch_sizes = flags.DEFINE_list(
        'batch_sizes', ['1', '8', '32', '64'], 'Of the search inside the '
        'graph.', flag_values=values)
    self.num_images = flags.DEFINE_integer(
        'num_pictures', 64, 'Images that are drawn, and captioned over and '
        'over.', lower_bound=1, flag_values=values)
    self.rounds = flags.DEFINE_integer(
        'rounds', 3, 'Times that each thing is timed; the best counts.',
        lower_bound=1, flag_values=values)
    self.quick = flags.DEFINE_boolean(
        'quick', False, 'Two rounds.', flag_values=values)


def floor(
    config: configuration.ModelConfig, beam_size: int, length: int
) -> float:
  """Return the multiply-adds of a caption of `length` words, markers counted.

  It reads the image, the first word, then a beam of words.
  """
  h, e = config.num_lstm_units, config.embedding_size
  lstm = (e + h) * 4 * h
  captions = 1 + (length - 2) * beam_size
  return lstm + captions * (lstm + h * config.vocab_size)


def make_model(folder: str, config: configuration.ModelConfig) -> TrainedModel:
  """Save a model at random and a vocabulary."""
  vocab_file = os.path.join(folder, vocabulary.FILE_NAME)
  words = [config.start_word, config.end_word, *(
      f'word{i}' for i in range(config.vocab_size - 3))]
  vocabulary.write_word_counts(vocab_file, [(word, 1) for word in words])
  captioner = Captioner(config)
  with tf.Graph().as_default(), tf1.Session() as session:
    captioner.build_step()
    session.run(tf1.global_variables_initializer())
    prefix = tf1.train.Saver().save(session, os.path.join(folder, 'model.ckpt'))
  return TrainedModel(prefix, captioner, vocabulary.Vocabulary(
      vocab_file, config.start_word, config.end_word, config.unknown_word))


@contextlib.contextmanager
def encoder_alone(model: TrainedModel) -> Iterator[Callable[[], float]]:
  """Yield what times the encoder on a batch of 32: seconds an image."""
  size = model.config.image_height
  with tf.Graph().as_default(), tf1.Session() as session:
    images = tf.Variable(tf.random.uniform([32, size, size, 3], -1.0, 1.0))
    encode = model.captioner.encode(
        images).pooled.op
    session.run(tf1.global_variables_initializer())
    yield lambda: best_time(lambda: session.run(encode), 2) / 32


class Times(NamedTuple):
  """Seconds an image."""

  name: str
  batch_size: int
  search: float
  whole: float
  of_encoder: float  # The encoder's own seconds over the whole's.


class FromStates:
  """A model whose images are encoded already: states [1, S]."""

  def __init__(self, model: inference_wrapper.InferenceWrapper):
    self.inference_step = model.inference_step

  def feed_image(self, sess: tf1.Session, encoded_image: Any) -> np.ndarray:
    """Return the image, which is its state."""
    return encoded_image


def time_step_by_step(
    model: TrainedModel, files: Sequence[str], beam_size: int, length: int,
    rounds: int, time_encoder: Callable[[], float],
) -> Iterator[Times]:
  """Time the searches that run the graph for each word.

  Args:
    model: captions.
    files: images.
    beam_size: of the searches.
    length: of the longest caption in words, both markers counted.
    rounds: times that each search is timed; the best counts.
    time_encoder: returns the seconds that the encoder takes for an image.
  """
  encoded = []
  for file in files:
    with open(file, 'rb') as f:
      encoded.append(f.read())
  with tf.Graph().as_default(), tf1.Session() as session:
    wrapper = inference_wrapper.InferenceWrapper()
    wrapper.build_graph_from_config(model.config, model.prefix)(session)
    states = [wrapper.feed_image(session, image) for image in encoded]

    def classic(source, image):
      classic_search.search(
          source, model.vocab, image, beam_size, length, session=session)

    def with_partial_sort(source, image):
      CaptionGenerator(source, model.vocab, beam_size, length).beam_search(
          session, image)

    def time_all(search, source, images):
      return best_time(lambda: [
          search(source, image) for image in images], rounds
      ) / len(images)

    for name, search in (('classic', classic),
                         ('CaptionGenerator', with_partial_sort)):
      whole = time_all(search, wrapper, encoded)
      yield Times(name, 1, time_all(search, FromStates(wrapper), states),
                  whole, time_encoder() / whole)


def time_in_graph(
    model: TrainedModel, files: Sequence[str], batch_size: int,
    search: batch_captioner.Search, rounds: int,
    time_encoder: Callable[[], float],
) -> Times:
  """Time the search inside the graph."""
  with tf.Graph().as_default(), tf1.Session() as session:
    size = model.config.image_height
    decoder, memory, _ = model.captioner.connect(
        tf.zeros([batch_size, size, size, 3]))
    captions = search(decoder, memory)
    restore.inference_restorer(model.prefix)(session)
    feeds = {memory: np.random.default_rng(0).normal(0.0, 0.1, memory.shape)}
    alone = best_time(lambda: session.run(captions, feeds), rounds)
  # A round's first batches have been decoded while something else ran; the
  # very last is searched for without another being encoded.
  waited, timed = 4, max(4, 32 // batch_size)
  number = (rounds * (waited + timed) + 1) * batch_size
  batches = batch_captioner.caption_files(
      loaded_model.combine([model]),
      list(itertools.islice(itertools.cycle(files), number)), search,
      batch_size)
  wholes, ratios = [], []
  for _ in range(rounds):
    for _ in range(waited):
      next(batches)
    start = time.perf_counter()
    for _ in range(timed):
      next(batches)
    wholes.append((time.perf_counter() - start) / timed / batch_size)
    ratios.append(time_encoder() / wholes[-1])
  return Times('inside the graph', batch_size, alone / batch_size,
               min(wholes), statistics.median(ratios))


def main(flags_: Flags) -> None:
  """Time and print a table."""
  rounds = 2 if flags_.quick.value else flags_.rounds.value
  beam_size = flags_.beam_size.value
  length = flags_.max_caption_length.value
  with tempfile.TemporaryDirectory() as folder:
    files = images.draw(folder, flags_.num_images.value)
    model = make_model(folder, flags_.model.config())
    search = functools.partial(
        beam_search.beam_search, rules=Rules(model.vocab, length),
        options=beam_search.Options(beam_size))
    rate = matrix_rate(rounds)
    least = floor(model.config, beam_size, length) / rate
    with encoder_alone(model) as time_encoder:
      print(f'{model.config.encoder} alone: {1e3 * time_encoder():.1f} ms an '
            'image\n'
            f'matrix product: {rate / 1e9:.1f} G multiply-adds/s; the '
            f"decoder's floor: {1e3 * least:.2f} ms a caption\n", flush=True)
      row = '| {:16} | {:>5} | {:>10} | {:>9} | {:>9} | {:>9} | {:>12} |'
      print(row.format('search', 'batch', 'search, ms', 'x classic', 'x floor',
                       'whole, ms', 'of encoder/s'))
      print(row.format(*(7 * ['---'])), flush=True)
      classic = None
      for times in itertools.chain(
          time_step_by_step(
              model, files[:4], beam_size, length, rounds, time_encoder),
          (time_in_graph(
              model, files, int(size), search, rounds, time_encoder)
           for size in flags_.batch_sizes.value)):
        classic = classic or times.search
        print(row.format(
            times.name, times.batch_size, f'{1e3 * times.search:.2f}',
            f'{classic / times.search:.1f}', f'{times.search / least:.2f}',
            f'{1e3 * times.whole:.1f}', f'{times.of_encoder:.0%}'), flush=True)


if __name__ == '__main__':
  command_line.run(main, Flags)
