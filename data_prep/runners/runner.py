"""What runs a step of work on many items: this machine or a cluster.

A step is a module's function, or a partial of one, that is applied to each
item. Items are values that JSON has, so that they may travel as files; what
was a tuple may arrive as a list.
"""

import abc
import collections
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple


class Label(NamedTuple):
  """What a progress bar says of a step.

  Attributes:
    doing: for example 'writing shards'.
    unit: for example 'record'.
  """
  doing: str
  unit: str


class Runner(abc.ABC):
  """Applies functions to items."""

  @abc.abstractmethod
  def find(
      self, function: Callable[[Any], Any], items: Sequence[Any], label: Label
  ) -> list[Any]:
    """What a function returns, where that is not None.

    Args:
      function: gives a value that JSON has.
      items: its arguments.
      label: of the progress bar.

    Returns:
      These, in the items' order.
    """

  @abc.abstractmethod
  def count(
      self, function: Callable[[Any], Iterable[str]], items: Sequence[Any],
      label: Label, at_least: int,
  ) -> collections.Counter[str]:
    """How often a function gives each word.

    Args:
      function: gives words, each as often as it is to be counted.
      items: its arguments.
      label: of the progress bar.
      at_least: words with fewer are left out.
    """

  @abc.abstractmethod
  def do(
      self, function: Callable[[Any], None], items: Sequence[Any],
      sizes: Sequence[int], label: Label,
  ) -> None:
    """Applies a function for what it does, such as to write a file.

    It may be applied to an item twice, even at the same time.

    Args:
      function: what to apply.
      items: its arguments.
      sizes: of each, in the progress bar's units.
      label: of the progress bar.
    """
