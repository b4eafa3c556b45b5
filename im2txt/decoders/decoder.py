"""The interface of caption decoders: from an encoding and words to logits.

Shapes: B batch, N captions (when decoding n of each of the B images, those of
the first image first), T padded caption length, L regions, V vocabulary, H
width of the last hidden layer, M any number of positions. A nest is a tensor
or a (named) tuple of nests.
"""

import abc
from typing import Any

import tensorflow as tf

from im2txt import configuration
from im2txt.inputs.batch import Encoding

Nest = Any


class Decoder(abc.ABC):
  """Constructed with hyperparameters, then connected to tensors repeatedly.

  Attributes:
    config_class: what the constructor takes; a decoder with hyperparameters of
      its own derives it from `configuration.ModelConfig`, with fields of type
      str, int, float or bool (`| None`).
    scope: the tensors of the step-by-step search are named
      `<scope>/initial_state`, `<scope>/state_feed` and `<scope>/state`.
    step_reads_memory: whether `step` uses the memory, so that the step-by-step
      search must carry it in its state.
    reads_regions: whether `prepare` uses the encoding's regions.
    attends: whether a state has an `alignment` float32 [N, L], the attention
      weights of the last step.
    max_length: most words that it can read; None: any number.
  """

  config_class: type[configuration.ModelConfig] = configuration.ModelConfig
  scope: str
  step_reads_memory: bool
  reads_regions: bool
  attends: bool = False
  max_length: int | None = None

  @abc.abstractmethod
  def __init__(self, config: configuration.ModelConfig, training: bool):
    """Initialize with hyperparameters.

    Args:
      config: of this decoder's `config_class`.
      training: whether to apply dropout and to normalize by batch statistics.
    """

  @abc.abstractmethod
  def prepare(self, encoding: Encoding) -> Nest:
    """Compute the memory, a nest of [B, ...]: what `step` needs of images."""

  @abc.abstractmethod
  def initial_state(self, memory: Nest) -> Nest:
    """Return the state before the first word, a nest of [B, ...].

    All dimensions but the first are static.
    """

  @abc.abstractmethod
  def step(
      self, memory: Nest, words: tf.Tensor, state: Nest
  ) -> tuple[tf.Tensor, Nest]:
    """Read one word of each caption.

    Args:
      memory: of `prepare`, a row for each image. N may be a multiple of its B:
        a decoder that uses it reshapes its query to [B, n, ...] rather than
        repeat the memory.
      words: integers [N].
      state: each [N, ...], of `initial_state` or of the previous step.

    Returns:
      Hidden float32 [N, H] for `logits`, and the next state.
    """

  @abc.abstractmethod
  def unroll(
      self, memory: Nest, input_seqs: tf.Tensor, mask: tf.Tensor
  ) -> tf.Tensor:
    """Read whole captions (teacher forcing); equal to `step` repeated.

    Args:
      memory: of `prepare`.
      input_seqs: integers [B, T].
      mask: integers [B, T], 1 for words and 0 for padding, whose outputs are
        undefined.

    Returns:
      Hidden float32 [B, T, H].
    """

  @abc.abstractmethod
  def logits(self, hidden: tf.Tensor) -> tf.Tensor:
    """Return unnormalized log probabilities [M, V] of hidden [M, H]."""
