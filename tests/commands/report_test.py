"""`python -m im2txt.report`: the table of training runs and their curves."""

import json
import math
import sys

import pytest
import tensorflow as tf
from PIL import Image

from im2txt import configuration, report
from im2txt.evaluation import learning_curves, run_history

tf1 = tf.compat.v1

FLOOR = {'caption': 'a dog is running .',
         'scores': {'Bleu_1': 0.42, 'CIDEr': 0.093}}


def scores(cider, num_images=1000, constants=(FLOOR,), **captions):
  """What evaluation says of a checkpoint's captions."""
  return {
      'num_images': num_images, 'settings': {'beam_size': 3},
      'captions': {'Bleu_1': 0.6, 'Bleu_2': 0.4, 'Bleu_3': 0.3, 'Bleu_4': 0.2,
                   'ROUGE_L': 0.45, 'CIDEr': cider, **captions},
      'diversity': {'distinct': 0.48, 'novel': 0.9, 'num_words': 1312,
                    'mean_length': 9.1},
      'constants': {str(i): floor for i, floor in enumerate(constants)}}


def line(step, perplexity=9.0, pattern='val-*', num_examples=5000, **fields):
  """A line of metrics.jsonl; without `scores` as it was before these."""
  return {'global_step': step, 'perplexity': perplexity,
          'num_examples': num_examples, 'num_words': 60000,
          'input_file_pattern': pattern, 'num_eval_examples': 10132,
          'fingerprint': f'{step:016x}', **fields}


def write_events(path, start, losses, seconds_a_step=1.0):
  """An events file: what it is, then a loss a step."""
  with tf.io.TFRecordWriter(str(path)) as writer:
    writer.write(tf1.Event(
        wall_time=start, file_version='brain.Event:2').SerializeToString())
    for step, loss in losses:
      writer.write(tf1.Event(
          wall_time=start + step * seconds_a_step, step=step,
          summary=tf1.Summary(value=[
              tf1.Summary.Value(tag='learning_rate', simple_value=2.0),
              tf1.Summary.Value(tag='losses/batch_loss', simple_value=loss),
          ])).SerializeToString())


@pytest.fixture
def make_run(tmp_path):
  """Make a run folder of lines of metrics.jsonl and (step, loss) pairs."""
  def make(name, *lines, losses=(), config_name=''):
    folder = tmp_path / name
    configuration.save(
        configuration.Config(
            configuration.ModelConfig(encoder='efficientnet_lite0'),
            name=config_name), str(folder))
    if lines:
      (folder / 'eval').mkdir()
      (folder / 'eval' / 'metrics.jsonl').write_text(
          ''.join(json.dumps(fields) + '\n' for fields in lines))
    if losses:
      write_events(folder / 'events.out.tfevents.1.x', 1e9, losses)
    return folder
  return make


@pytest.fixture
def cells():
  """The table's rows as {heading: cell}, and the lines below it."""
  def read(*folders):
    runs = [run_history.read_run(str(folder)) for folder in folders]
    text, _, below = report.table(runs).partition('\n\n')
    heading, _, *rows = [
        [cell.strip() for cell in row.strip('|').split(' | ')]
        for row in text.splitlines()]
    return [dict(zip(heading, row, strict=True)) for row in rows], below
  return read


def test_the_table(make_run, launch, tmp_path):
  make_run('a', line(938, 23.02453), line(4690, 14.536, scores=scores(0.512)),
           losses=[(1, 8.0), (484, 3.0)], config_name='some_config')
  make_run('b', line(12345, 9, scores=scores(1.0, METEOR=0.2)))
  finished = launch('im2txt.report', 'a', 'b/', folder=tmp_path)
  assert finished.returncode == 0, finished.stderr
  assert not finished.lines
  *lines, empty, below = finished.stdout.splitlines()
  assert (empty, below) == ('', (
      'Evaluated: a, b on `val-*` (5,000 pairs, 1,000 images captioned, '
      'beam 3).'))
  heading, rule, *rows = [line.strip('| ').split(' | ') for line in lines]
  assert [[cell.strip() for cell in row] for row in (heading, *rows)] == [
      ['run', 'config', 'steps', 'time', 'perplexity', 'BLEU-1', 'BLEU-2',
       'BLEU-3', 'BLEU-4', 'METEOR', 'ROUGE-L', 'CIDEr', 'distinct', 'novel',
       'words'],
      ['a', 'some_config', '4,690', '8 min 4 s', '14.54', '0.600', '0.400',
       '0.300', '0.200', '-', '0.450', '0.512', '0.480', '0.900', '1,312'],
      ['b', 'efficientnet_lite0 + show_and_tell', '12,345', '-', '9.00',
       '0.600', '0.400', '0.300', '0.200', '0.200', '0.450', '1.000', '0.480',
       '0.900', '1,312'],
      ['"a dog is running ."', 'constant caption', '-', '-', '-', '0.420', '-',
       '-', '-', '-', '-', '0.093', '-', '-', '-']]
  # Text to the left, figures to the right, also where Markdown is rendered.
  assert [cell.strip('-') for cell in rule] == ['', ''] + 13 * [':']
  assert len({tuple(i for i, letter in enumerate(line) if letter == '|')
              for line in lines}) == 1
  assert lines[2].startswith('| a ') and '|  4,690 |' in lines[2]


def test_the_row_is_of_the_best_evaluation(make_run, cells):
  rows, _ = cells(
      make_run('perplexity', line(1, math.nan), line(2, 8.0), line(3, 7.5),
               line(4, math.inf)),
      make_run('cider', line(1, 7.0, scores=scores(0.3)),
               line(2, 9.0, scores=scores(0.5)),
               line(3, 6.0, scores=scores(0.4)), line(4, 5.0, scores=None)),
      make_run('astray', line(1, math.nan)))
  assert [(row['steps'], row['perplexity'], row['CIDEr']) for row in rows] == [
      ('3', '7.50', '-'), ('1', 'nan', '-'),
      ('2', '9.00', '0.500'), ('-', '-', '0.093')]


def test_a_floor_for_each_set_of_images(make_run, cells):
  other = {'caption': 'a | cat', 'scores': {'CIDEr': 0.07}}
  with_java = {'caption': FLOOR['caption'],
               'scores': FLOOR['scores'] | {'METEOR': 0.1}}
  rows, below = cells(
      make_run('dev', line(1, scores=scores(0.3))),
      make_run('test', line(1, pattern='test-*', num_words=9,
                            scores=scores(0.3))),
      make_run('few', line(1, scores=scores(0.3, num_images=10))),
      make_run('old', line(1)),
      make_run('java', line(1, scores=scores(
          0.4, constants=(with_java, other)))),
      make_run('none'))
  assert [row['run'].split('/')[-1] for row in rows] == [
      # Each floor of a set once, as the one has it that knows METEOR.
      'dev', 'java', '"a dog is running ."', r'"a \| cat"',
      'test', '"a dog is running ."', 'few', '"a dog is running ."',
      'old', 'none']
  assert [row['CIDEr'] for row in rows] == [
      '0.300', '0.400', '0.093', '0.070', '0.300', '0.093', '0.300', '0.093',
      '-', '-']
  assert rows[2]['METEOR'] == '0.100'
  assert below.startswith('Evaluated differently, not to be compared: ')
  groups = below.split('; ')
  for group, names, how in zip(groups, (['dev', 'java'], ['test'], ['few'], [
      'old']), ('val-*` (5,000 pairs, 1,000 images captioned, beam 3)',
                'test-*` (5,000 pairs, 1,000 images captioned, beam 3)',
                'val-*` (5,000 pairs, 10 images captioned, beam 3)',
                'val-*` (5,000 pairs).'), strict=True):
    assert group.endswith(f'/{names[-1]} on `{how}')
    assert all(f'/{name}' in group for name in names)
  assert 'none' not in below


def test_words_of_another_style_are_of_the_same_images(make_run, cells):
  def run(name, num_words, **settings):
    found = scores(0.4)
    found['settings'] |= settings
    return make_run(name, line(1, num_words=num_words, scores=found))

  rows, below = cells(run('a', 60000, pictures='x'),
                      run('b', 50000, pictures='x'))
  # Together, above one floor.
  assert [row['run'].split('/')[-1] for row in rows] == [
      'a', 'b', '"a dog is running ."']
  assert below.startswith('Evaluated: ')
  assert below.endswith(
      ' Perplexities are of other words and not to be compared.')


@pytest.mark.parametrize('num_words', [60000, 50000])
def test_other_images_are_not_to_be_compared(make_run, cells, num_words):
  # As many images and pairs, as Flickr8k's dev and test have.
  rows, below = cells(*(
      make_run(name, line(1, num_words=number, scores=scores(0.4) | {
          'settings': {'beam_size': 3, 'pictures': name}}))
      for name, number in (('dev', 60000), ('test', num_words))))
  assert len(rows) == 4
  assert below.startswith('Evaluated differently, not to be compared: ')
  assert 'Perplexities' not in below


@pytest.mark.parametrize('theirs, said', [
    ('rare words too', True), ('frequent words', False), (None, False)])
def test_perplexities_of_another_vocabulary(make_run, cells, theirs, said):
  # The number of words is the same; how many of them are unknown is not.
  _, below = cells(*(
      make_run(name, line(1, scores=scores(0.4) | {'settings': {
          'beam_size': 3, 'pictures': 'x', 'vocabulary': vocabulary}}))
      for name, vocabulary in (('a', 'frequent words'), ('b', theirs))))
  assert below.startswith('Evaluated: ')
  assert below.endswith(
      ' Perplexities are of other words and not to be compared.') == said


def test_other_numbers_of_pairs_are_other_data(make_run, cells):
  # Another spelling of the shards is no other data, nor are features of them.
  _, below = cells(make_run('a', line(1)), make_run('b', line(
      1, pattern='features/val-*')))
  assert below.startswith('Evaluated: ')
  assert below.endswith('/b on `features/val-*`, `val-*` (5,000 pairs).')
  _, below = cells(
      make_run('c', line(1)), make_run('d', line(1, num_examples=20)))
  assert below.startswith('Evaluated differently, not to be compared: ')
  assert below.endswith('/d on `val-*` (20 pairs).')


def test_the_row_is_of_the_most_usual_evaluations(make_run, cells):
  searched = scores(0.5) | {'settings': {'beam_size': 1}}
  rows, below = cells(make_run(
      'run', line(1, scores=scores(0.3)), line(2, scores=scores(0.4)),
      line(2, scores=searched), line(2, num_words=7, scores=scores(0.9))))
  assert rows[0]['CIDEr'] == '0.400'
  assert 'beam 3' in below


def test_a_run_that_has_only_begun(make_run, cells):
  folder = make_run('new')
  [row], below = cells(folder)
  assert row.pop('run') == str(folder)
  assert row.pop('config') == 'efficientnet_lite0 + show_and_tell'
  assert set(row.values()) == {'-'} and not below
  write_events(folder / 'events.out.tfevents.1.x', 1e9, [(30, 5.0)])
  [row], _ = cells(folder)
  assert (row['time'], row['steps']) == ('30 s', '-')


def test_events_of_a_run_that_was_killed_and_went_on(make_run):
  folder = make_run('run')
  # By name the second is the first.
  write_events(folder / 'events.out.tfevents.2.x', 1e9,
               [(1, 8.0), (101, 5.0), (201, 4.0)])
  write_events(folder / 'events.out.tfevents.1.x', 2e9,
               [(101, 5.5), (301, 3.0)])
  (folder / 'events.out.tfevents.3.x').write_bytes(b'')
  run = run_history.read_run(str(folder))
  assert run.losses == [(1, 8.0), (101, 5.5), (301, 3.0)]
  assert run.seconds == 201 + 301
  last = folder / 'events.out.tfevents.1.x'
  last.write_bytes(last.read_bytes()[:-5])
  run = run_history.read_run(str(folder))
  assert run.losses == [(1, 8.0), (101, 5.5)]
  assert run.seconds == 201 + 101


def test_a_run_as_training_leaves_it(trained):
  run = run_history.read_run(str(trained.folder))
  [(step, loss)] = run.losses
  assert step == 1 and loss == pytest.approx(math.log(17), rel=0.2)
  assert run.seconds > 0


@pytest.mark.parametrize('seconds, text', [
    (0, '0 s'), (59.4, '59 s'), (59.6, '1 min 0 s'), (484, '8 min 4 s'),
    (3600, '1 h 0 min'), (149 * 1000.4, '41 h 24 min')])
def test_durations(seconds, text):
  assert report.duration(seconds) == text


@pytest.mark.parametrize('fields', [
    {'perplexity': None}, {'global_step': 'many'}, {'num_examples': math.inf},
    {'scores': 'good'}, {'scores': {}}, {'scores': scores(None) | {
        'captions': [0.5]}}, {'scores': scores('high')},
    {'scores': scores(0.5, constants=({'CIDEr': 0.1},))}, {'unheard_of': 1}],
    ids=str)
def test_a_damaged_line_is_named(make_run, fields):
  folder = make_run('run', line(1), line(2) | fields, line(3))
  with pytest.raises(ValueError, match='remove the line') as error:
    run_history.read_run(str(folder))
  assert str(error.value).startswith(f'{folder}/eval/metrics.jsonl:2: ')


@pytest.mark.long
def test_mistakes(make_run, launch, tmp_path):
  def error_of(*arguments):
    finished = launch('im2txt.report', *arguments)
    assert finished.returncode == 1
    assert not finished.stdout
    assert finished.error.startswith('report: error: ')
    return finished.error

  run = make_run('run')
  assert 'RUN_DIR' in error_of()
  for folder in (tmp_path, tmp_path / 'none', run / 'config.json'):
    assert f'{folder} is no run folder' in error_of(run, folder)
  (run / 'eval').mkdir()
  (run / 'eval' / 'metrics.jsonl').write_text('{"global_step": 6\n')
  assert f'{run}/eval/metrics.jsonl:1: ' in error_of(run)
  (run / 'eval' / 'metrics.jsonl').unlink()
  (run / 'events.out.tfevents.1.x').mkdir()
  assert f'{run}/events.out.tfevents.1.x' in error_of(run)


@pytest.fixture
def two_runs(make_run):
  """Folders of runs, one with captions scored."""
  losses = [(step, 3.0 + 4 / step) for step in range(1, 100)]
  return (make_run('first$x$', line(50, 12.0), line(99, 11.0), losses=losses),
          make_run('_second', line(50, 9.0, scores=scores(0.3)),
                   line(99, 8.0, scores=scores(0.5)), losses=losses))


def test_the_plot(two_runs, launch, tmp_path):
  pytest.importorskip('matplotlib')
  finished = launch('im2txt.report', '--output_plot=curves.png', *two_runs,
                    folder=tmp_path)
  assert finished.returncode == 0, finished.stderr
  assert len(finished.stdout.splitlines()) == 7
  with Image.open(tmp_path / 'curves.png') as image:
    assert image.format == 'PNG'
    assert image.size == (1200, 420 + 22)
    colours = {colour for _, colour in image.convert('RGB').getcolors(99999)}
  assert {(0x1f, 0x77, 0xb4), (0xff, 0x7f, 0x0e)} <= colours  # C0 and C1.
  assert not list(tmp_path.glob('*.tmp'))


def test_a_curve_a_run(two_runs):
  pytest.importorskip('matplotlib')
  runs = [run_history.read_run(str(folder)) for folder in two_runs]
  sheet = learning_curves.draw(runs)
  loss, perplexity, cider = sheet.axes
  assert [axes.get_title() for axes in sheet.axes] == [
      'training loss (nats a word), smoothed', 'perplexity in evaluation',
      'CIDEr']
  assert [len(axes.lines) for axes in sheet.axes] == [2, 2, 1]
  assert [curve.get_color() for curve in loss.lines] == ['C0', 'C1']
  assert [curve.get_color() for curve in cider.lines] == ['C1']
  assert [curve.get_xydata().tolist() for curve in perplexity.lines] == [
      [[50, 12], [99, 11]], [[50, 9], [99, 8]]]
  [legend] = sheet.legends
  assert [text.get_text() for text in legend.get_texts()] == [
      str(folder) for folder in two_runs]
  # Nobody scored captions.
  assert len(learning_curves.draw(runs[:1]).axes) == 2


def test_curves_beyond_the_colours(make_run):
  pytest.importorskip('matplotlib')
  folders = [make_run(f'run{i}', line(1)) for i in range(11)]
  runs = [run_history.read_run(str(folder)) for folder in folders]
  [axes] = learning_curves.draw(runs).axes
  looks = [(c.get_color(), c.get_linestyle()) for c in axes.lines]
  assert len(set(looks)) == 11


def test_a_curve_is_of_one_set_of_data(make_run):
  pytest.importorskip('matplotlib')
  run = run_history.read_run(str(make_run(
      'run', line(30, math.inf), line(20, 8.0), line(10, 9.5), line(10, 9.0),
      line(20, 99.0, pattern='other-*', num_words=9))))
  [axes] = learning_curves.draw([run]).axes
  [curve] = axes.lines
  assert curve.get_xydata().tolist() == [[10, 9], [20, 8]]


def test_an_untrained_model_leaves_room_for_the_others(make_run):
  pytest.importorskip('matplotlib')
  bad, good = [
      run_history.read_run(str(make_run(name, line(0, 2900.0), *lines)))
      for name, *lines in [('bad', line(9, 20.0)), ('good', line(9, 2.0))]]
  [axes] = learning_curves.draw([good, bad]).axes
  assert axes.get_ylim() == (0, 60)
  [axes] = learning_curves.draw([good]).axes
  assert axes.get_ylim() == (0, 6)


def test_a_plot_that_cannot_be_made(two_runs, monkeypatch, tmp_path):
  pytest.importorskip('matplotlib')
  runs = [run_history.read_run(str(folder)) for folder in two_runs]
  path = tmp_path / 'curves.docx'
  path.write_text('older')
  with pytest.raises(ValueError, match="curves.docx: .*'docx'") as error:
    learning_curves.plot(runs, str(path))
  assert '\n' not in str(error.value)
  assert path.read_text() == 'older'
  with pytest.raises(OSError, match='none/curves.png'):
    learning_curves.plot(runs, str(tmp_path / 'none' / 'curves.png'))
  bare = tmp_path / 'bare'
  configuration.save(configuration.Config(), str(bare))
  with pytest.raises(ValueError, match='nothing to draw'):
    learning_curves.plot(
        [run_history.read_run(str(bare))], str(tmp_path / 'x.png'))
  monkeypatch.setitem(sys.modules, 'matplotlib', None)
  with pytest.raises(ValueError, match=r"pip install '.\[metrics\]'"):
    learning_curves.plot(runs, str(tmp_path / 'x.png'))
  assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == [
      'curves.docx']


def test_smoothing():
  assert learning_curves.smoothed([]) == []
  assert learning_curves.smoothed([(1, 8.0), (2, 4.0)]) == [(1, 8.0), (2, 4.0)]
  level = learning_curves.smoothed([(step, 3.0) for step in range(500)])
  assert [x for x, _ in level] == list(range(500))
  assert [y for _, y in level] == pytest.approx(500 * [3.0])
  # 20 points: the mean of three, at the ends of two.
  peak = [(step, 6.0 * (step == 1)) for step in range(20)]
  assert [y for _, y in learning_curves.smoothed(peak)[:4]] == pytest.approx(
      [3, 2, 2, 0])
