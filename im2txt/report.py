"""Compare training runs: a table of their scores and their learning curves.

  python -m im2txt.report runs/flickr8k runs/other --output_plot=curves.png

prints a Markdown table with a row a run, that of its best evaluation: the one
with the highest CIDEr or, where captions were never scored, the lowest
perplexity. Below the runs that were evaluated on the same images stands what
the best constant captions score there. `time` is that of all the training,
evaluations during it included; `distinct` is the number of different captions
as a share of all, `novel` the share that training does not have, `words` the
number of different words.

--output_plot draws training loss, perplexity and CIDEr over the steps.
"""

from collections.abc import Mapping, Sequence

from absl import flags

from im2txt import command_line
from im2txt.evaluation import learning_curves
from im2txt.evaluation.run_history import Run, read_run
from im2txt.files import file_system, overwriting
from im2txt.flags.overwrite import OverwriteFlag


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.output_plot = flags.DEFINE_string(
        'output_plot', None, 'Also draw the learning curves into this file, '
        "1,200 pixels wide; its name's ending says which form: .png, .svg, "
        ".pdf. Needs matplotlib: pip install '.[metrics]'.", flag_values=values)
    self.overwrite = OverwriteFlag(values)


# Heading, name of the figure in `metrics.jsonl`, form.
_FIGURES = (
    ('perplexity', 'perplexity', '{:.2f}'),
    ('BLEU-1', 'Bleu_1', '{:.3f}'),
    ('BLEU-2', 'Bleu_2', '{:.3f}'),
    ('BLEU-3', 'Bleu_3', '{:.3f}'),
    ('BLEU-4', 'Bleu_4', '{:.3f}'),
    ('METEOR', 'METEOR', '{:.3f}'),
    ('ROUGE-L', 'ROUGE_L', '{:.3f}'),
    ('CIDEr', 'CIDEr', '{:.3f}'),
    ('distinct', 'distinct', '{:.3f}'),
    ('novel', 'novel', '{:.3f}'),
    ('words', 'num_words', '{:,.0f}'),
)
_TEXT_COLUMNS = ('run', 'config')
_UNKNOWN = '-'


def table(runs: Sequence[Run]) -> str:
  """Return the runs as a Markdown table; comparable ones stand together."""
  rows = [[*_TEXT_COLUMNS, 'steps', 'time',
           *(heading for heading, _, _ in _FIGURES)]]
  groups = {}
  for run in runs:
    groups.setdefault(
        run.best and run.best.conditions.of_scores, []).append(run)
  for members in groups.values():
    rows += map(_row, members)
    floors = {}
    for run in members:
      for caption, figures in run.best.constants if run.best else ():
        # METEOR is known only where there was Java.
        floors[caption] = max(floors.get(caption, {}), figures, key=len)
    rows += [[f'"{caption}"', 'constant caption', _UNKNOWN, _UNKNOWN,
              *_cells(figures)] for caption, figures in floors.items()]
  lines = _aligned([[_escaped(cell) for cell in row] for row in rows])
  return '\n'.join([*lines, *_conditions(groups)])


def _row(run: Run) -> list[str]:
  best = run.best
  return [
      run.folder, run.config_name,
      f'{best.step:,}' if best else _UNKNOWN,
      _UNKNOWN if run.seconds is None else duration(run.seconds),
      *_cells(best.figures if best else {})]


def _cells(figures: Mapping[str, float]) -> list[str]:
  return [form.format(figures[name]) if name in figures else _UNKNOWN
          for _, name, form in _FIGURES]


def duration(seconds: float) -> str:
  """Return a time to be read: `8 min 4 s`."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f'{hours} h {minutes} min'
  return f'{minutes} min {seconds} s' if minutes else f'{seconds} s'


def _escaped(cell: str) -> str:
  return ' '.join(cell.split()).replace('|', r'\|')


def _aligned(rows: list[list[str]]) -> list[str]:
  """Return lines of a table with a heading; figures are to the right."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  texts = len(_TEXT_COLUMNS)
  rule = [width * '-' for width in widths[:texts]] + [
      (width - 1) * '-' + ':' for width in widths[texts:]]
  return ['| ' + ' | '.join(
      cell.ljust(width) if i < texts else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(row, widths, strict=True))) + ' |'
          for row in (rows[0], rule, *rows[1:])]


def _conditions(
    groups: Mapping[tuple | None, Sequence[Run]]
) -> list[str]:
  """Say below the table on what, and how, the runs were evaluated."""
  found = []
  for key, members in groups.items():
    if key:
      conditions = members[0].best.conditions
      patterns = sorted({f'`{run.best.pattern}`' for run in members})
      captioned = (
          f', {conditions.num_images:,} images captioned, beam '
          f'{conditions.beam_size}' if conditions.num_images else '')
      found.append(
          f'{", ".join(run.folder for run in members)} on '
          f'{", ".join(patterns)} ({conditions.num_pairs:,} pairs{captioned})')
  if not found:
    return []
  known = [run.best.conditions for members in groups.values()
           for run in members if run.best]
  captioning = {c.of_scores for c in known if c.num_images}
  differ = len({c.num_pairs for c in known}) > 1 or len(captioning) > 1
  # Those of a run that was never scored are not known.
  vocabularies = {c.vocabulary for c in known if c.vocabulary}
  other_words = len({c.num_words for c in known}) > 1 or len(vocabularies) > 1
  return ['', 'Evaluated' + (
      ' differently, not to be compared' if differ else '') + ': '
      + '; '.join(found) + '.' + (
          ' Perplexities are of other words and not to be compared.'
          if other_words and not differ else '')]


def main(flags_: Flags, folders: Sequence[str]) -> None:
  """Print the table of the runs named on the command line."""
  if not folders:
    raise ValueError('name the folders of the runs: '
                     'python -m im2txt.report RUN_DIR...')
  plot = flags_.output_plot.value
  if plot and file_system.isdir(plot):
    raise ValueError(f'--output_plot={plot} is a folder; name a '
                     'file')
  if plot:
    overwriting.check(
        'output_plot', plot, learning_curves.PLOT, is_image=True,
        overwrite=flags_.overwrite.value())
  runs = [read_run(folder) for folder in folders]
  print(table(runs))
  if plot:
    learning_curves.plot(runs, plot)


if __name__ == '__main__':
  command_line.run(main, Flags, takes_arguments=True)
