"""Learning curves of training runs, drawn by matplotlib."""

import math
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from im2txt.evaluation.run_history import Curve, Run
from im2txt.files import atomic_files, file_system

# What plots, but for .pdf, have at their beginning.
PLOT = re.compile(b'[Mm]atplotlib')
_WIDTH, _HEIGHT = 1200, 420  # Of the plot without its legend, pixels.
_COLOURS = 10  # Of matplotlib's cycle, `C0` to `C9`.
_LINE_STYLES = ('-', '--', ':', '-.')
_LOSS = 'training loss (nats a word), smoothed'
_PERPLEXITY = 'perplexity in evaluation'


def plot(runs: Sequence[Run], path: str) -> None:
  """Draw the learning curves into a file, in the format of its ending.

  Raises:
    OSError: it cannot be written.
    ValueError: there is nothing to draw, no matplotlib, or no such format.
  """
  sheet = draw(runs)
  form = os.path.splitext(path)[1].removeprefix('.') or 'png'
  try:
    with (atomic_files.replacing(path) as temporary,
          file_system.open(temporary, 'wb') as f):
      sheet.savefig(f, format=form)
  except ValueError as error:
    raise ValueError(f'--output_plot={path}: {error}') from None


def draw(runs: Sequence[Run]) -> Any:
  """Draw the learning curves as a matplotlib Figure, one panel a quantity.

  Raises:
    ValueError: there is nothing to draw, or no matplotlib.
  """
  try:
    from matplotlib import figure, lines, ticker
  except ImportError:
    raise ValueError('--output_plot needs matplotlib: '
                     "pip install '.[metrics]' in the folder of this project"
                     ) from None
  panels = {title: curves for title, curves in _panels(runs).items()
            if any(curves)}
  if not panels:
    raise ValueError('--output_plot: nothing to draw, the runs have neither '
                     'events nor evaluations')
  styles = [{'color': f'C{i % _COLOURS}',
             'linestyle': _LINE_STYLES[i // _COLOURS % len(_LINE_STYLES)]}
            for i in range(len(runs))]
  names = [run.folder for run in runs]
  columns = max(1, _WIDTH // (60 + 8 * max(map(len, names))))
  height = _HEIGHT + 22 * math.ceil(len(runs) / columns)
  sheet = figure.Figure(
      (_WIDTH / 100, height / 100), dpi=100, layout='constrained')
  [row] = sheet.subplots(1, len(panels), squeeze=False)
  for axes, (title, curves) in zip(row, panels.items(), strict=True):
    for curve, style in zip(curves, styles, strict=True):
      if curve:
        axes.plot(*zip(*curve, strict=True), **style,
                  marker='o' if title != _LOSS or len(curve) == 1 else '',
                  markersize=4)
    axes.set_title(title)
    axes.set_xlabel('step')
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter('{x:,.0f}'))
    axes.grid(alpha=0.3)
    if title == _PERPLEXITY:
      # One model that has learnt nothing would flatten all other curves.
      limit = 3 * max(min(y for _, y in curve) for curve in curves if curve)
      if max(y for curve in curves for _, y in curve) > limit:
        axes.set_ylim(0, limit)
  legend = sheet.legend(
      [lines.Line2D([], [], **style) for style in styles], names,
      loc='outside lower center', ncols=columns, frameon=False)
  for text in legend.get_texts():
    text.set_parse_math(False)  # A folder's name may have two `$`.
  return sheet


def _panels(runs: Sequence[Run]) -> dict[str, list[Curve]]:
  """Return, by the panel's title, one curve a run, which may be empty."""
  return {
      _LOSS: [smoothed(run.losses) for run in runs],
      _PERPLEXITY: [_results(run, 'perplexity') for run in runs],
      'CIDEr': [_results(run, 'CIDEr') for run in runs]}


def _results(run: Run, name: str) -> Curve:
  """Return a score of the comparable evaluations, by step."""
  # The last result of a step that was evaluated several times.
  known = {e.step: e.figures[name] for e in run.comparable
           if name in e.figures}
  return [point for point in sorted(known.items()) if math.isfinite(point[1])]


def smoothed(curve: Curve) -> Curve:
  """Return the running mean over a tenth of a curve, centred."""
  if not curve:
    return []
  steps, values = zip(*curve, strict=True)
  window = np.ones(1 + 2 * (len(curve) // 20))
  means = (np.convolve(values, window, 'same')
           / np.convolve(np.ones(len(curve)), window, 'same'))
  return list(zip(steps, means.tolist(), strict=True))
