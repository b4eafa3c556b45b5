"""Checkpoints of every age and format, and what must not be restored."""

import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from absl import logging

from im2txt import configuration
from im2txt.checkpoints import encoder_weights, names, restore, trained_model
from im2txt.checkpoints import folder as checkpoints
from im2txt.encoders import EfficientNetLite0, InceptionV3
from im2txt.models.captioner import Captioner

tf1 = tf.compat.v1

V, E, H = 99, 11, 13
CONFIG = configuration.ModelConfig(
    encoder='efficientnet_lite0', image_height=33, image_width=47,
    vocab_size=V, embedding_size=E, num_lstm_units=H)
KERNEL, BIAS = 'lstm/basic_lstm_cell/kernel', 'lstm/basic_lstm_cell/bias'

SPELLINGS = {
    'today': {},
    'TensorFlow 1.0 and 1.1': {  # As model.ckpt-1000000 was published.
        KERNEL: 'lstm/basic_lstm_cell/weights',
        BIAS: 'lstm/basic_lstm_cell/biases'},
    'before TensorFlow 1.0': {
        KERNEL: 'lstm/BasicLSTMCell/Linear/Matrix',
        BIAS: 'lstm/BasicLSTMCell/Linear/Bias'},
}


def write_v2(prefix, values):
  with tf.Graph().as_default(), tf1.Session() as session:
    session.run(tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=list(values),
        shape_and_slices=[''] * len(values), tensors=list(values.values())))


def write_v1(prefix, values):
  with tf.Graph().as_default(), tf1.Session() as session:
    session.run(tf.raw_ops.Save(
        filename=prefix, tensor_names=list(values),
        data=list(values.values())))


@pytest.fixture(scope='module')
def system():
  """The inference graph of a whole system, and values for its variables."""
  random = np.random.default_rng(1)
  with tf.Graph().as_default() as graph:
    Captioner(CONFIG).build_step()
    variables = tf1.global_variables()
  values = {v.op.name: random.normal(size=v.shape).astype(np.float32)
            for v in variables}
  values['global_step'] = np.int64(4711)
  return graph, variables, values


@pytest.fixture(autouse=True)
def graph():
  """A graph for tests that need no system."""
  with tf.Graph().as_default() as graph:
    yield graph


@pytest.mark.parametrize('write', [write_v1, write_v2])
@pytest.mark.parametrize('spelling', SPELLINGS)
def test_checkpoints_of_every_age_and_format_are_restored(
    system, tmp_path, spelling, write):
  graph, variables, values = system
  older = SPELLINGS[spelling]
  write(str(tmp_path / 'model.ckpt-4711'),
        {older.get(name, name): value for name, value in values.items()})
  prefix = checkpoints.latest(str(tmp_path / 'model.ckpt-4711'))
  with graph.as_default(), tf1.Session() as session:
    restore.inference_restorer(prefix)(session)
    restored = session.run({v.op.name: v for v in variables})
  assert restored.keys() == values.keys() and len(restored) == 252
  for name, value in restored.items():
    np.testing.assert_array_equal(value, values[name])


def test_table_of_older_names_is_complete():
  table = names.LEGACY_NAMES
  assert table.keys() == {KERNEL, BIAS}
  for name, older_names in table.items():
    assert older_names == tuple(
        older[name] for older in SPELLINGS.values() if older)


# A model of three variables stands for the rest.
SMALL = {'a/weights': [3, 5], KERNEL: [2, 7], 'global_step': []}


def small_variables(**other_shapes):
  shapes = SMALL | other_shapes
  return [tf1.get_variable(
      name, shape, tf.int64 if name == 'global_step' else tf.float32,
      initializer=tf1.zeros_initializer()) for name, shape in shapes.items()]


def small_values(but=(), **more):
  values = {name: np.full(shape, i + 1.0, np.float32)
            for i, (name, shape) in enumerate(SMALL.items())}
  values['global_step'] = np.int64(7)
  return {name: value for name, value in (values | more).items()
          if name not in but}


@pytest.fixture
def save(tmp_path):
  """Write a checkpoint of the small model and return its prefix."""
  def save(values, name='model.ckpt-7', write=write_v2):
    prefix = str(tmp_path / name)
    os.makedirs(os.path.dirname(prefix), exist_ok=True)
    write(prefix, values)
    return prefix
  return save


def refused(prefix, *said, **kwargs):
  """Read what cannot be read, and look at the one line."""
  with pytest.raises(ValueError) as error:
    restore.read_values(prefix, small_variables(), **kwargs)
  line = str(error.value)
  assert line.startswith(prefix) and '\n' not in line
  for part in said:
    assert part in line
  return line


def test_values_come_by_name(save):
  values = restore.read_values(save(small_values()), small_variables())
  assert values.keys() == SMALL.keys()
  assert values['a/weights'].tolist() == [[1.0] * 5] * 3
  assert values['global_step'] == 7
  assert values['global_step'].dtype == np.int64


def test_a_wrong_shape(save):
  refused(save(small_values() | {'a/weights': np.ones([5, 3], np.float32)}),
          'a/weights has shape [5, 3]', '[3, 5]')


def test_a_missing_variable(save):
  refused(save(small_values(but=[KERNEL])), f'lacks {KERNEL}')


def test_many_missing_variables_are_one_line(save):
  variables = [tf1.get_variable(f'v{i:02d}', []) for i in range(40)]
  with pytest.raises(ValueError, match='v00, v01, .*and 35 more') as error:
    restore.read_values(save(small_values()), variables)
  assert len(str(error.value)) < 400


def test_an_unknown_variable(save):
  refused(save(small_values(**{'b/weights': np.ones(3, np.float32)})),
          'holds b/weights')


def test_nothing_is_assigned_where_something_is_wrong(save):
  variables = small_variables()
  prefix = save(small_values(**{'b/weights': np.ones(3, np.float32)}))
  restore_model = restore.inference_restorer(prefix)
  with tf1.Session() as session:
    session.run(tf1.global_variables_initializer())
    with pytest.raises(ValueError):
      restore_model(session)
    assert not any(np.any(v) for v in session.run(variables))


@pytest.mark.parametrize('name', [
    'OptimizeLoss/learning_rate',
    'OptimizeLoss/InceptionV3/Conv2d_1a_3x3/weights/Momentum',
    'optimizer/beta1_power',
    f'optimizer/{KERNEL}/Adam_1',
    f'{KERNEL}/Adam',
    'a/weights/RMSProp_1',
    'a/weights/ExponentialMovingAverage',
    'beta2_power',
])
def test_variables_of_optimisers_are_skipped(save, name):
  prefix = save(small_values(**{name: np.ones([3], np.float32)}))
  assert restore.read_values(prefix, small_variables()).keys() == (
      SMALL.keys())


@pytest.mark.parametrize('name', [
    'Adam/weights', 'a/weights/Adamant', 'optimizers/weights',
    'my/optimizer/weights'])
def test_what_only_looks_like_an_optimiser_is_not(save, name):
  refused(save(small_values(**{name: np.ones([3], np.float32)})), name)


def test_what_may_be_absent_is_left_as_initialised(save):
  prefix = save(small_values())
  variables = small_variables(**{'optimizer/x': [2], 'optimizer/y': [3]})
  values = restore.read_values(
      prefix, variables, may_be_absent='optimizer/')
  assert values.keys() == SMALL.keys()
  variables.append(tf1.get_variable('optimizers', [2]))
  with pytest.raises(ValueError, match='lacks optimizers:'):
    restore.read_values(prefix, variables, may_be_absent='optimizer/')


def test_slots_are_restored_where_they_are_wanted(save):
  prefix = save(small_values(**{'optimizer/x': np.full(2, 9.0, np.float32)}))
  values = restore.read_values(
      prefix, small_variables(**{'optimizer/x': [2]}))
  assert values['optimizer/x'].tolist() == [9.0, 9.0]


def test_averages_are_read_where_they_are_wanted(save):
  prefix = save(small_values(**{
      names.average_name('a/weights'): np.full((3, 5), 9.0)}))
  variables = small_variables()
  for averaged in (False, True):
    values = restore.read_values(prefix, variables, averaged=averaged)
    assert (values['a/weights'] == 9.0).all() == averaged
    assert (values[KERNEL] == 2.0).all()


def checkpoint_files(folder):
  return sorted(path.name for path in folder.iterdir())


def test_a_copy_takes_the_place_of_the_one_before(save, tmp_path):
  best = tmp_path / 'best'
  first = save(small_values(), 'run[1]/model.ckpt-3')
  second = save(small_values(), 'run[1]/model.ckpt-5')
  checkpoints.keep_only(first, str(best))
  assert checkpoints.newest(str(best)) == str(best / 'model.ckpt-3')
  (best / 'config.json').write_text('kept')
  for _ in range(2):  # The same again is no different.
    checkpoints.keep_only(second, str(best))
    assert checkpoints.newest(str(best)) == str(best / 'model.ckpt-5')
    assert checkpoint_files(best) == [
        'checkpoint', 'config.json', 'model.ckpt-5.data-00000-of-00001',
        'model.ckpt-5.index']
  for suffix in ('index', 'data-00000-of-00001'):
    with open(f'{second}.{suffix}', 'rb') as f:
      assert (best / f'model.ckpt-5.{suffix}').read_bytes() == f.read()


def test_a_copy_of_nothing_leaves_what_there_is(save, tmp_path):
  best = tmp_path / 'best'
  prefix = save(small_values(), 'run/model.ckpt-3')
  checkpoints.keep_only(prefix, str(best))
  with pytest.raises(FileNotFoundError):
    checkpoints.keep_only(str(tmp_path / 'model.ckpt-9'), str(best))
  assert checkpoints.newest(str(best)) == str(best / 'model.ckpt-3')


def test_the_log_says_what_came_from_where(save, monkeypatch):
  lines = []
  monkeypatch.setattr(
      logging, 'info', lambda line, *args: lines.append(line % args))
  prefix = save(small_values(**{'beta1_power': np.ones([], np.float32)}))
  restore.read_values(
      prefix, small_variables(**{'optimizer/x': [2]}), 'optimizer/')
  [line] = lines
  assert prefix in line and 'restored 3 variables' in line
  assert 'optimizer/x' in line and 'beta1_power' in line



@pytest.mark.parametrize('damage', [
    lambda content: content[:7],
    lambda content: content[:20] + b'XXXX' + content[24:],
    lambda content: b'',
], ids=['cut off', 'changed', 'empty'])
def test_damaged_values_are_one_line(save, damage):
  prefix = save(small_values())
  data = f'{prefix}.data-00000-of-00001'
  with open(data, 'rb') as f:
    content = f.read()
  with open(data, 'wb') as f:
    f.write(damage(content))
  refused(prefix, 'cannot be read')


def test_absent_values_are_one_line(save):
  prefix = save(small_values())
  os.remove(f'{prefix}.data-00000-of-00001')
  refused(prefix, 'cannot be read')


@pytest.mark.parametrize('content', [b'', b'<html>not found</html>' * 30])
@pytest.mark.parametrize('ending', ['.index', ''])
def test_other_files_are_one_line(tmp_path, content, ending):
  (tmp_path / f'model.ckpt-7{ending}').write_bytes(content)
  if ending:
    (tmp_path / 'model.ckpt-7.data-00000-of-00001').touch()
  refused(checkpoints.latest(str(tmp_path / 'model.ckpt-7')),
          'is no readable checkpoint')


def test_a_part_of_a_checkpoint_is_not_enough(save, tmp_path):
  prefix = save(small_values())
  folder, name = os.path.split(prefix)

  def refused_path(path, *said):
    with pytest.raises(FileNotFoundError) as error:
      checkpoints.latest(str(path))
    assert all(part in str(error.value) for part in (str(path), *said))

  # The names that people type, or that are left of a download.
  pathlib.Path(folder, 'checkpoint').write_text(
      f'model_checkpoint_path: "{name}"')
  refused_path(f'{folder}/checkpoint', 'give its folder')
  refused_path(f'{folder}/model.ckpt-99999', prefix)
  refused_path(f'{folder}/model.ckpt-*', prefix)
  other = tmp_path / 'other'
  other.mkdir()
  shutil.copy(f'{prefix}.index', other / name)
  refused_path(other / name, f'{name}.index under another name')
  shutil.copy(f'{prefix}.index', other / 'new.index')
  refused_path(other / 'new', 'new.data-00000-of-00001 is not there')
  refused_path(other, f'{other}/new')  # No base name of ours.
  shutil.copy(f'{prefix}.data-00000-of-00001',
              other / 'alone.data-00000-of-00001')
  for ending in ('', '.data-00000-of-00001'):
    with pytest.raises(FileNotFoundError, match='alone.index is not there'):
      checkpoints.latest(f'{other}/alone{ending}')


def test_a_v1_checkpoint_cut_off_is_one_line(save):
  prefix = save(small_values(), write=write_v1)
  with open(prefix, 'rb') as f:
    content = f.read()
  with open(prefix, 'wb') as f:
    f.write(content[:len(content) // 2])
  refused(prefix)


@pytest.mark.parametrize('ending', [
    '', '.index', '.meta', '.data-00000-of-00001'])
def test_latest_of_a_file_is_its_prefix(save, ending):
  prefix = save(small_values())
  assert checkpoints.latest(prefix + ending) == prefix


def test_latest_in_a_folder_is_of_the_highest_step(save, tmp_path):
  for step in (9, 100, 20):
    save(small_values(), f'model.ckpt-{step}')
  assert checkpoints.latest(str(tmp_path)) == str(tmp_path / 'model.ckpt-100')
  assert checkpoints.latest(f'{tmp_path}/') == str(tmp_path / 'model.ckpt-100')
  assert [checkpoints.step_of(p) for p in checkpoints.all_in(
      str(tmp_path))] == [9, 20, 100]


def write_state(folder, *prefixes):
  """The `checkpoint` file that a Saver leaves."""
  lines = [f'all_model_checkpoint_paths: "{prefix}"\n' for prefix in prefixes]
  (folder / 'checkpoint').write_text(
      f'model_checkpoint_path: "{prefixes[-1]}"\n' + ''.join(lines))


def test_latest_in_a_folder_that_was_moved(save, tmp_path):
  save(small_values(), 'new/model.ckpt-7')
  write_state(tmp_path / 'new', '/no/such/folder/model.ckpt-7')
  assert checkpoints.latest(str(tmp_path / 'new')) == (
      str(tmp_path / 'new' / 'model.ckpt-7'))


def test_latest_in_a_folder_that_was_copied(save, tmp_path):
  # The copy's `checkpoint` file names the original's checkpoints.
  original = save(small_values(), 'original/model.ckpt-7')
  write_state(tmp_path / 'original', original)
  shutil.copytree(tmp_path / 'original', tmp_path / 'copy')
  assert checkpoints.latest(str(tmp_path / 'copy')) == (
      str(tmp_path / 'copy' / 'model.ckpt-7'))


def test_latest_in_a_folder_of_another_naming(save, tmp_path):
  prefix = save(small_values(), 'show-and-tell-3')
  write_state(tmp_path, prefix)
  assert checkpoints.latest(str(tmp_path)) == prefix


def test_latest_in_a_folder_of_format_v1(save, tmp_path):
  prefix = save(small_values(), write=write_v1)
  write_state(tmp_path, prefix)
  assert checkpoints.latest(str(tmp_path)) == prefix


def test_latest_in_a_folder_with_brackets_in_its_name(save, tmp_path):
  prefix = save(small_values(), 'run [1]*?/model.ckpt-7')
  assert checkpoints.latest(str(tmp_path / 'run [1]*?')) == prefix


def cut(path, size):
  path.write_bytes(path.read_bytes()[:size])


DAMAGES = {
    'data cut': lambda folder, prefix: cut(
        folder / f'{prefix}.data-00000-of-00001', -1),
    'data empty': lambda folder, prefix: cut(
        folder / f'{prefix}.data-00000-of-00001', 0),
    'data missing': lambda folder, prefix: (
        folder / f'{prefix}.data-00000-of-00001').unlink(),
    'index cut': lambda folder, prefix: cut(folder / f'{prefix}.index', 99),
    'index empty': lambda folder, prefix: cut(folder / f'{prefix}.index', 0),
    'index missing': lambda folder, prefix: (
        folder / f'{prefix}.index').unlink(),
}


@pytest.fixture
def warnings(monkeypatch):
  """What is warned of, in a process that has said nothing yet."""
  said = []
  monkeypatch.setattr(logging, 'warning', lambda text, *of: said.append(
      text % of))
  return said


@pytest.mark.parametrize('damage', DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_and_that_is_said(
    save, tmp_path, warnings, damage):
  for step in (5, 20, 100):
    save(small_values(), f'model.ckpt-{step}')
  write_state(tmp_path, 'model.ckpt-5', 'model.ckpt-20', 'model.ckpt-100')
  damage(tmp_path, 'model.ckpt-100')
  for _ in range(2):
    assert checkpoints.newest(str(tmp_path)) == str(tmp_path / 'model.ckpt-20')
  [line] = warnings
  assert line.startswith(str(tmp_path / 'model.ckpt-100'))
  assert line.endswith(
      f'taking {tmp_path}/model.ckpt-20, the newest whole checkpoint')
  # Of none that is whole the reader says what is wrong.
  for step in (5, 20):
    damage(tmp_path, f'model.ckpt-{step}')
  with pytest.raises((ValueError, OSError), match='model.ckpt-100'):
    restore.read_scope(checkpoints.latest(str(tmp_path)), '')


@pytest.mark.parametrize('content', [
    b'', b'\xff\xfe\0', b'model_checkpoint_path', b'all: {}',
    b'model_checkpoint_path: "elsewhere/model.ckpt-200"\n'])
def test_a_checkpoint_file_that_names_none(save, tmp_path, warnings, content):
  save(small_values(), 'model.ckpt-7')
  (tmp_path / 'checkpoint').write_bytes(content)
  assert checkpoints.newest(str(tmp_path)) == str(tmp_path / 'model.ckpt-7')
  [line] = warnings
  assert 'taking' in line
  assert ('model.ckpt-200' if b'200' in content else 'names no') in line


def test_whole_checkpoints_cause_no_warning(save, tmp_path, warnings):
  for step in (1, 2):
    save(small_values(), f'model.ckpt-{step}')
  assert checkpoints.newest(str(tmp_path)) == str(tmp_path / 'model.ckpt-2')
  write_state(tmp_path, 'model.ckpt-1')
  assert checkpoints.newest(str(tmp_path)) == str(tmp_path / 'model.ckpt-1')
  assert not warnings


@pytest.mark.parametrize('name', ['', 'model.ckpt-8', 'none/model.ckpt-7'])
def test_latest_of_nothing(tmp_path, name):
  with pytest.raises(FileNotFoundError, match='checkpoint') as error:
    checkpoints.latest(str(tmp_path / name))
  assert str(error.value).startswith(str(tmp_path / name))


def test_steps_stand_in_names():
  assert checkpoints.step_of('runs-3/model.ckpt-1000000') == 1000000
  assert checkpoints.step_of('model.ckpt') == 0


def test_all_in_no_folder():
  assert checkpoints.all_in('/no/such/folder') == []


def test_configuration_of_an_im2txt_checkpoint(save):
  prefix = save({
      'seq_embedding/map': np.zeros([V, E], np.float32),
      'logits/weights': np.zeros([H, V], np.float32)})
  assert trained_model.im2txt_config(prefix) == configuration.ModelConfig(
      vocab_size=V, embedding_size=E, num_lstm_units=H)


def test_configuration_of_another_checkpoint(save):
  prefix = save(small_values())
  with pytest.raises(ValueError, match="'seq_embedding/map'") as error:
    trained_model.im2txt_config(prefix)
  assert str(error.value).startswith(prefix)


def encoder_checkpoint(save, but=(), **other):
  values = {'InceptionV3/a/weights': np.ones([3, 5], np.float32),
            'InceptionV3/b/weights': np.ones([2], np.float32),
            'InceptionV3/Logits/weights': np.ones([4], np.float32)}
  return save({name: value for name, value in (values | other).items()
               if name not in but}, 'inception_v3.ckpt')


def read_encoder(path):
  variables = [tf1.get_variable('InceptionV3/a/weights', [3, 5]),
               tf1.get_variable('InceptionV3/b/weights', [2])]
  return encoder_weights.read(InceptionV3(), path, variables)


def test_weights_of_an_encoder(save):
  values = read_encoder(encoder_checkpoint(save))
  assert {name: value.shape for name, value in values.items()} == {
      'InceptionV3/a/weights': (3, 5), 'InceptionV3/b/weights': (2,)}


def test_averages_of_an_encoder_are_its_weights(save):
  name = 'InceptionV3/b/weights'
  path = encoder_checkpoint(
      save, **{names.average_name(name): np.full(2, 9.0, np.float32)})
  for given in (path, f'{path}.index'):
    with tf.Graph().as_default():
      assert (read_encoder(given)[name] == 9.0).all()


@pytest.mark.parametrize('fields, said', [
    ({'but': ['InceptionV3/b/weights']}, 'lacks InceptionV3/b/weights'),
    ({'InceptionV3/b/weights': np.ones([7], np.float32)}, r'\(7,\).*\(2,\)'),
])
def test_weights_of_another_encoder(save, fields, said):
  path = encoder_checkpoint(save, **fields)
  with pytest.raises(ValueError, match=said) as error:
    read_encoder(path)
  assert str(error.value).startswith(path) and '\n' not in str(error.value)


def test_no_weights_of_an_encoder():
  with pytest.raises(FileNotFoundError, match='none_such.ckpt'):
    read_encoder('none_such.ckpt')


def test_where_weights_of_encoders_are():
  unnamed = configuration.ModelConfig()
  named = configuration.ModelConfig(inception_checkpoint_file='x.ckpt')
  assert encoder_weights.find(unnamed, InceptionV3()) is None
  assert encoder_weights.find(named, InceptionV3()) == 'x.ckpt'
  assert encoder_weights.find(unnamed, EfficientNetLite0()).endswith('.pth')
  assert encoder_weights.find(named, EfficientNetLite0()) == 'x.ckpt'


def test_what_a_killed_save_left_is_no_part_of_a_checkpoint(save, tmp_path):
  prefix = save(small_values())
  folder = os.path.dirname(prefix)
  left = pathlib.Path(f'{prefix}.data-00000-of-00001.tempstate123')
  left.write_bytes(bytes(10**6))
  checkpoints.keep_only(prefix, str(tmp_path / 'best'))
  assert not list((tmp_path / 'best').glob('*tempstate*'))
  data = pathlib.Path(f'{prefix}.data-00000-of-00001')
  data.write_bytes(data.read_bytes()[:-8])
  assert checkpoints._damage(prefix)
  checkpoints.remove_leftovers(folder)
  assert not left.exists() and data.exists()
