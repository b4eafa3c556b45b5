"""Interface of what applies a function to many items: this machine, a cluster.

The function is a module's function, or a partial of one. Items and results are
values that JSON has, so that they may travel as files; what was a tuple may
arrive as a list.
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
  """Apply functions to items."""

  @abc.abstractmethod
  def filter_map(
      self, function: Callable[[Any], Any], items: Sequence[Any], label: Label
  ) -> list[Any]:
    """Return the results of a function that are not None.

    Args:
      function: returns a value that JSON has.
      items: its arguments.
      label: of the progress bar.

    Returns:
      The results in the order of their items.
    """

  @abc.abstractmethod
  def count_words(
      self, function: Callable[[Any], Iterable[str]], items: Sequence[Any],
      label: Label,
  ) -> collections.Counter[str]:
    """Count the words that a function returns for all items.

    Args:
      function: returns words, each as often as it is to be counted.
      items: its arguments.
      label: of the progress bar.
    """

  @abc.abstractmethod
  def for_each(
      self, function: Callable[[Any], None], items: Sequence[Any],
      sizes: Sequence[int], label: Label,
  ) -> None:
    """Apply a function for its side effect, such as to write a file.

    It may be applied to an item twice, even at the same time.

    Args:
      function: what to apply.
      items: its arguments.
      sizes: of each item, in units of the progress bar.
      label: of the progress bar.
    """
