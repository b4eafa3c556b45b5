"""What a caption decoder is: an encoding and words in, the next word out.

Shapes: B batch, N captions side by side (n of each of the B images when
decoding: those of the first image stand first), T padded caption length, V
vocabulary, H width of the last hidden layer, M any number of positions. A nest
is a tensor or a (named) tuple of nests.
"""

import abc
from typing import Any

import tensorflow as tf

from im2txt import configuration
from im2txt.inputs.batch import Encoding

Nest = Any


class Decoder(abc.ABC):
  """Constructed with numbers, connected to tensors any number of times.

  Attributes:
    config_class: what the constructor takes; a decoder with further numbers
      derives its own from `configuration.ModelConfig`, with fields that are
      texts, numbers or truth values (`| None`).
    scope: the tensors of the step-by-step search are named
      `<scope>/initial_state`, `<scope>/state_feed` and `<scope>/state`.
    step_reads_memory: whether `step` looks at the memory, so that a search
      must carry it along.
    reads_regions: whether `prepare` looks at the encoding's regions.
    attends: whether a state has an `alignment` float32 [N, L], the shares of
      the L regions in what the last step looked at.
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
    """Notes the numbers.

    Args:
      config: of this decoder's `config_class`.
      training: whether dropout is wanted, and batch statistics.
    """

  @abc.abstractmethod
  def prepare(self, encoding: Encoding) -> Nest:
    """Computes what is needed of an image, once: the memory, [B, ...]."""

  @abc.abstractmethod
  def initial_state(self, memory: Nest) -> Nest:
    """Returns the state before the first word, each of a fixed [B, ...]."""

  @abc.abstractmethod
  def step(
      self, memory: Nest, words: tf.Tensor, state: Nest
  ) -> tuple[tf.Tensor, Nest]:
    """Reads one word of each caption.

    Args:
      memory: of `prepare`, a row an image. N may be a multiple of its B: a
        decoder that looks at it reshapes its query to [B, n, ...] rather than
        repeat the memory.
      words: integers [N].
      state: each [N, ...], of `initial_state` or of the step before.

    Returns:
      Hidden float32 [N, H] for `logits`, and the next state.
    """

  @abc.abstractmethod
  def unroll(
      self, memory: Nest, input_seqs: tf.Tensor, mask: tf.Tensor
  ) -> tf.Tensor:
    """Reads whole captions (teacher forcing); equals `step` repeated.

    Args:
      memory: of `prepare`.
      input_seqs: integers [B, T].
      mask: integers [B, T], 1 for words and 0 for padding; what is returned
        for padding means nothing.

    Returns:
      Hidden float32 [B, T, H].
    """

  @abc.abstractmethod
  def logits(self, hidden: tf.Tensor) -> tf.Tensor:
    """Unnormalised log probabilities [M, V] of hidden [M, H]."""
