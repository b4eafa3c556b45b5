"""A trained model behind the interface of the step-by-step search.

Shapes: B partial captions, V vocabulary, S size of a decoder's whole state, L
regions.
"""

import numpy as np
import tensorflow as tf

from im2txt import configuration
from im2txt.checkpoints import folder, restore
from im2txt.checkpoints.variable_loader import RestoreFn
from im2txt.models.captioner import Captioner, StepTensors

tf1 = tf.compat.v1


class InferenceWrapper:
  """Run the inference graph on an image, then word by word."""

  def __init__(self):
    self._step: StepTensors | None = None

  def build_graph_from_config(
      self, model_config: configuration.ModelConfig, checkpoint_path: str
  ) -> RestoreFn:
    """Build the inference graph in the current graph.

    Args:
      model_config: the model.
      checkpoint_path: a checkpoint, or a folder, for its newest one.

    Returns:
      A function that, called with a session, restores the model.

    Raises:
      OSError: there is no such checkpoint.
    """
    prefix = folder.latest(checkpoint_path)
    self._step = Captioner(model_config).build_step()
    return restore.inference_restorer(prefix)

  def feed_image(self, sess: tf1.Session, encoded_image: bytes) -> np.ndarray:
    """Encode an image.

    Args:
      sess: with the restored model.
      encoded_image: the image file's bytes.

    Returns:
      float32 [1, S], the state before the first word.

    Raises:
      tf.errors.InvalidArgumentError: the bytes are not an image.
    """
    return sess.run(self._step.initial_state,
                    {self._step.image_feed: encoded_image})

  def inference_step(
      self, sess: tf1.Session, input_feed: np.ndarray, state_feed: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Read one word of each partial caption.

    Args:
      sess: with the restored model.
      input_feed: integers [B], each caption's last word.
      state_feed: float32 [B, S], each caption's state.

    Returns:
      float32 [B, V], probabilities of the next word, float32 [B, S], the next
      states, and as metadata float32 [B, L], attention weights, or None if the
      model does not attend to regions.
    """
    fetches = [self._step.softmax, self._step.state]
    if self._step.alignment is not None:
      fetches.append(self._step.alignment)
    softmax, state, *metadata = sess.run(
        fetches,
        {self._step.input_feed: input_feed, self._step.state_feed: state_feed})
    return softmax, state, metadata[0] if metadata else None
