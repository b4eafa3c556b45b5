"""Captions of one image during training, to see what was learnt."""

import numpy as np
import tensorflow as tf
from absl import logging

from im2txt.checkpoints import folder as checkpoints
from im2txt.checkpoints import restore, variable_loader
from im2txt.files import file_system
from im2txt.inputs import graph_errors, image_processing
from im2txt.models.captioner import Captioner
from im2txt.search import sampling
from im2txt.search.rules import Rules
from im2txt.text import vocabulary

tf1 = tf.compat.v1

# 0: the most probable word each time.
TEMPERATURES = (0.0, 0.5, 1.0)


class CaptionSamples:
  """The captioning graph of one image, for any checkpoint of a model."""

  def __init__(
      self,
      captioner: Captioner,
      vocab: vocabulary.Vocabulary,
      image_file: str,
      seed: int | None = None,
  ):
    """Build the graph.

    Args:
      captioner: the model.
      vocab: its words.
      image_file: the image.
      seed: the same seed gives the same captions of a checkpoint; None: they
        differ each time.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is no image.
    """
    self._vocab = vocab
    with file_system.open(image_file, 'rb') as f:
      encoded_image = f.read()
    self._graph = tf.Graph()
    with self._graph.as_default(), tf1.Session() as session:
      tf1.set_random_seed(seed)
      try:
        image = session.run(image_processing.process_image(
            tf.constant(encoded_image), False, captioner.config))
      except tf.errors.OpError as error:
        raise ValueError(
            f'{image_file}: {graph_errors.reason(error)}') from None
      decoder, memory, _ = captioner.connect(
          tf.constant(image[np.newaxis]))
      rules = Rules(vocab)
      self._sentences = [
          (sampling.sample(
              decoder, memory, rules,
              sampling.SamplingOptions(temperature=temperature))
           if temperature else sampling.greedy(decoder, memory, rules)
           ).sentences[0, 0] for temperature in TEMPERATURES]
      self._variables = tf1.global_variables()
      self._loader = variable_loader.VariableLoader(self._variables)

  def draw(self, prefix: str) -> dict[float, str]:
    """Draw a caption at each temperature.

    Args:
      prefix: the checkpoint.

    Returns:
      Captions by temperature.

    Raises:
      ValueError: it cannot be read, or is of another model.
    """
    values = restore.read_values(prefix, self._variables, averaged=True)
    with tf1.Session(graph=self._graph) as session:
      self._loader.load(session, values)
      return dict(zip(
          TEMPERATURES,
          map(self._vocab.to_sentence, session.run(self._sentences)),
          strict=True))

  def log(self, prefix: str) -> None:
    """Log a caption at each temperature; see `draw`."""
    for temperature, caption in self.draw(prefix).items():
      logging.info('Step %d, temperature %g: %s', checkpoints.step_of(prefix),
                   temperature, caption)
