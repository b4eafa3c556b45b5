"""PyTorch files: the real one, and ones that were made to do harm."""

import hashlib
import pathlib
import pickle
import struct

import numpy as np
import pytest
from pytorch_files import dictionary, legacy_file, tensor

from im2txt import configuration
from im2txt.encoders import EfficientNetLite0, pytorch_weights

REAL = pathlib.Path(EfficientNetLite0.from_config(
    configuration.ModelConfig()).default_weights())


@pytest.fixture
def read(tmp_path):
  def read(content, name='weights.pth'):
    path = tmp_path / name
    path.write_bytes(content)
    return pytorch_weights.read(str(path))
  return read


def refused(read, content, reason, **kwargs):
  with pytest.raises(ValueError, match=reason) as error:
    read(content, **kwargs)
  assert '.pth' in str(error.value) and '\n' not in str(error.value)


def test_the_real_file():
  tensors = pytorch_weights.read(str(REAL))
  assert len(tensors) == 296
  assert tensors['_conv_stem.weight'].shape == (32, 3, 3, 3)
  assert tensors['_fc.weight'].shape == (1000, 1280)
  assert tensors['_bn1.num_batches_tracked'].shape == ()
  floats = [t for t in tensors.values() if t.dtype == np.float32]
  assert len(floats) == 296 - 49  # 49 batch norms count their batches.
  assert sum(t.size for t in floats) == 4_694_024
  assert all(np.isfinite(t).all() for t in floats)
  # Variances are not negative, and weights are not all alike.
  assert min(t.min() for n, t in tensors.items()
             if n.endswith('running_var')) >= 0
  assert min(t.std() for t in floats if t.ndim == 4) > 1e-3


def test_tensors_have_their_values_shapes_and_types(read):
  a = np.arange(12, dtype='<f4')
  b = np.array([-7, 1 << 40], '<i8')
  c = np.array([[0.5, -2.0, 8.0]], '<f2')
  tensors = read(legacy_file(dictionary(
      plain=tensor('a', (3, 4), (4, 1)),
      transposed=tensor('a', (4, 3), (1, 4)),
      part=tensor('a', (2, 3), (4, 1), offset=5),
      spread=tensor('a', (2, 2), (0, 1)),
      scalar=tensor('a', (), (), offset=11),
      longs=tensor('b', (2,), (1,), storage='LongStorage'),
      halves=tensor('c', (1, 3), (3, 1), storage='HalfStorage')),
      a=a, b=b, c=c))
  expected = {
      'plain': a.reshape(3, 4), 'transposed': a.reshape(3, 4).T,
      'part': a.reshape(3, 4)[1:, 1:], 'spread': [[0, 1], [0, 1]],
      'scalar': 11.0, 'longs': b, 'halves': c}
  assert tensors.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(tensors[name], value)
  assert tensors['halves'].dtype == np.float16
  assert tensors['longs'].dtype == np.int64


def test_many_tensors_of_one_storage_cannot_fill_the_memory(read):
  size = 10**6
  tensors = read(legacy_file(dictionary(**{
      f't{i}': tensor('a', (size,), (1,)) for i in range(3)}),
      a=np.zeros(size, '<f4')))
  assert np.shares_memory(tensors['t0'], tensors['t2'])


def test_digest_in_the_name(read):
  content = legacy_file(dictionary(x=tensor('a', (1,), (1,))),
                        a=np.ones(1, '<f4'))
  digest = hashlib.sha256(content).hexdigest()
  for digits in (8, 11, 64):
    assert read(content, name=f'net-{digest[:digits]}.pth').keys() == {'x'}
  wrong = ('0' if digest[7] != '0' else '1').join((digest[:7], ''))
  refused(read, content, 'sha256', name=f'net-{wrong}.pth')
  # Not all that looks like an ending is one: these name no digest.
  for name in ('net-1234567.pth', 'net-efficient.pth', f'{wrong}.pth'):
    assert read(content, name=name).keys() == {'x'}


def test_the_real_file_when_a_byte_is_wrong(read):
  content = bytearray(REAL.read_bytes())
  content[len(content) // 2] ^= 1
  refused(read, bytes(content), 'sha256', name=REAL.name)


@pytest.mark.parametrize('share', [0.0, 0.0003, 0.5, 0.999999])
def test_the_real_file_cut_off(read, share):
  content = REAL.read_bytes()
  refused(read, content[:int(share * len(content))],
          'not a readable PyTorch weights file')


@pytest.mark.parametrize('content', [
    b'PK\x03\x04 as newer versions of PyTorch write',
    pickle.dumps({'a': 1}),
    pickle.dumps(0x1950A86A20F9469CFC6C),
    b'\x80\x02' + b'\xff' * 100,
    b'text',
], ids=['zip', 'another pickle', 'nothing more', 'no opcodes', 'text'])
def test_other_files(read, content):
  refused(read, content, 'not a readable PyTorch weights file')


def test_no_file(tmp_path):
  for path in (tmp_path / 'none.pth', tmp_path):
    with pytest.raises(FileNotFoundError, match='no such weights file'):
      pytorch_weights.read(str(path))


def call(function, argument):
  """Pickle of `function(argument)`; unpickling it makes the call."""
  module, name = function.rsplit('.', 1)
  return f'c{module}\n{name}\n(V{argument}\ntR.'.encode()


ATTACKS = {
    'os.system': 'touch {}',
    'posix.system': 'touch {}',
    'subprocess.getoutput': 'touch {}',
    'builtins.eval': 'open("{}", "w")',
    'builtins.exec': 'open("{}", "w")',
    '__builtin__.eval': 'open("{}", "w")',
    'builtins.open': '{}',  # Refused, though it would only read.
    'collections.namedtuple': '{}',
    'torch._utils.eval': 'open("{}", "w")',
    'numpy.load': '{}',
}


@pytest.mark.parametrize('place', range(5))
@pytest.mark.parametrize('function', ATTACKS)
def test_a_pickle_cannot_call_anything(read, tmp_path, function, place):
  evidence = tmp_path / 'evidence'
  attack = call(function, ATTACKS[function].format(evidence))
  parts = [pickle.dumps(0x1950A86A20F9469CFC6C), pickle.dumps(1001),
           pickle.dumps({}), dictionary(), pickle.dumps([])]
  assert read(b''.join(parts)) == {}
  parts[place] = attack
  refused(read, b''.join(parts), 'is not a tensor')
  assert not evidence.exists()


def test_the_attack_itself_is_one(tmp_path):
  evidence = tmp_path / 'evidence'
  pickle.loads(call('os.system', f'touch {evidence}'))
  assert evidence.exists()


@pytest.mark.parametrize('module, name', [
    ('collections', 'OrderedDict.__class__'),
    ('collections', 'abc.sys.modules'),
    ('torch._utils', '_rebuild_tensor_v2.__globals__'),
    ('im2txt.encoders.pytorch_weights', 'os.system'),
])
def test_names_with_dots_lead_nowhere(read, module, name):
  def text(value):
    return b'\x8c' + bytes([len(value)]) + value.encode()
  attack = b'\x80\x04' + text(module) + text(name) + b'\x93.'
  refused(read, legacy_file(attack), 'is not a tensor')


@pytest.mark.parametrize('view', [
    tensor('a', (13,), (1,)),
    tensor('a', (12,), (1,), offset=1),
    tensor('a', (2, 2), (11, 1)),
    tensor('a', (1,), (1,), offset=12),
    tensor('a', (), (), offset=-1),
    tensor('a', (3,), (-1,), offset=5),
    tensor('a', (2, 3), (1,)),
    tensor('a', (-3,), (1,)),
    tensor('a', (2,), (1 << 62,)),
    tensor('a', (1 << 62,), (1,)),
    tensor('a', (1 << 55,), (0,)),
    tensor('b', (1,), (1,)),
    tensor('a', (2,), (1,), storage='StringStorage'),
])
def test_a_tensor_must_lie_in_its_storage(read, view):
  refused(read, legacy_file(dictionary(x=view), a=np.ones(12, '<f4')),
          'not a readable PyTorch weights file')


@pytest.mark.parametrize('count', [-1, 13, 1 << 62, -(1 << 62)])
def test_a_storage_must_lie_in_the_file(read, count):
  content = legacy_file(dictionary(x=tensor('a', (2,), (1,))),
                        a=np.ones(12, '<f4'))
  refused(read, content[:-56] + struct.pack('<q', count) + content[-48:],
          'not a readable PyTorch weights file')


def test_what_is_no_tensor_is_left_out(read):
  assert read(legacy_file(dictionary(
      x=tensor('a', (1,), (1,)), epoch=b'I7\n'), a=np.ones(1, '<f4'))
              ).keys() == {'x'}


def test_a_pickle_cannot_fill_the_memory(read):
  # The list of an unpickler's objects has room up to the highest number.
  head = b''.join(map(pickle.dumps, (0x1950A86A20F9469CFC6C, 1001, {})))
  refused(read, head + b'\x80\x02}r\x00\x00\x00\x08.',
          'object 134217728 among 2')
