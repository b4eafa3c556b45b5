"""A trained model as the step-by-step search sees it.

Shapes: B partial captions, V vocabulary, S all of a decoder's state in a row,
L regions.
"""

import numpy as np
import tensorflow as tf

from im2txt import configuration
from im2txt.checkpoints import folder, restore
from im2txt.checkpoints.variable_loader import RestoreFn
from im2txt.models.captioner import Captioner, StepTensors

tf1 = tf.compat.v1


class InferenceWrapper:
  """Feeds an image, then words, into the inference graph."""

  def __init__(self):
    self._step: StepTensors | None = None

  def build_graph_from_config(
      self, model_config: configuration.ModelConfig, checkpoint_path: str
  ) -> RestoreFn:
    """Builds the inference graph in the current graph.

    Args:
      model_config: the model.
      checkpoint_path: checkpoint, or folder whose newest one is meant.

    Returns:
      A function that, called with a session, restores the model.

    Raises:
      OSError: there is no such checkpoint.
    """
    prefix = folder.latest(checkpoint_path)
    self._step = Captioner(model_config).build_step()
    return restore.inference_restorer(prefix)

  def feed_image(self, sess: tf1.Session, encoded_image: bytes) -> np.ndarray:
    """Encodes an image.

    Args:
      sess: with the restored model.
      encoded_image: the image file's bytes.

    Returns:
      float32 [1, S], the state before the first word.

    Raises:
      tf.errors.InvalidArgumentError: the bytes are no image.
    """
    return sess.run(self._step.initial_state,
                    {self._step.image_feed: encoded_image})

  def inference_step(
      self, sess: tf1.Session, input_feed: np.ndarray, state_feed: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Reads one word of each partial caption.

    Args:
      sess: with the restored model.
      input_feed: integers [B], each caption's last word.
      state_feed: float32 [B, S], each caption's state.

    Returns:
      float32 [B, V], probabilities of the next word, float32 [B, S], the next
      states, and as metadata float32 [B, L], where the model looked, or None
      if it does not attend to regions.
    """
    fetches = [self._step.softmax, self._step.state]
    if self._step.alignment is not None:
      fetches.append(self._step.alignment)
    softmax, state, *metadata = sess.run(
        fetches,
        {self._step.input_feed: input_feed, self._step.state_feed: state_feed})
    return softmax, state, metadata[0] if metadata else None
