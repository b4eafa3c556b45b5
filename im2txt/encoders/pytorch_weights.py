"""Read the tensors of a PyTorch file (legacy format) without PyTorch.

Such a file is a row of pickles, and a pickle can run code. The unpickler here
can build nothing but dictionaries and tensors of numbers.

Format: torch/serialization.py, `_legacy_save`: a magic number, a protocol
version, a description of the machine, the dictionary of tensors (their bytes
left out), the list of storage keys, then for each key an int64 element count
and the raw little-endian elements.
"""

import collections
import hashlib
import math
import pickle
import pickletools
import re
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from im2txt.files import file_system

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_DTYPES = {
    'FloatStorage': np.dtype('<f4'),
    'DoubleStorage': np.dtype('<f8'),
    'HalfStorage': np.dtype('<f2'),
    'LongStorage': np.dtype('<i8'),
    'IntStorage': np.dtype('<i4'),
}


class _Tensor(NamedTuple):
  storage: str
  dtype: np.dtype
  offset: int
  shape: tuple[int, ...]
  stride: tuple[int, ...]


def _rebuild_tensor(storage, offset, shape, stride, *_) -> _Tensor:
  key, dtype = storage
  return _Tensor(key, dtype, offset, tuple(shape), tuple(stride))


class _TensorUnpickler(pickle.Unpickler):

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) == ('collections', 'OrderedDict'):
      return collections.OrderedDict
    if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
      return _rebuild_tensor
    if module == 'torch' and name in _DTYPES:
      return _DTYPES[name]
    raise pickle.UnpicklingError(f'{module}.{name} is not a tensor')

  def persistent_load(self, pid: tuple) -> tuple[str, np.dtype]:
    _, dtype, key, *_ = pid
    return key, dtype


def _load(f: BinaryIO) -> Any:
  """Read the next pickle.

  Raises:
    pickle.UnpicklingError: it holds anything but tensors, or numbers its
      objects so that the list of them would fill the memory.
  """
  start = f.tell()
  for count, (opcode, argument, _) in enumerate(pickletools.genops(f)):
    if 'PUT' in opcode.name and argument > count:
      raise pickle.UnpicklingError(f'object {argument} among {count}')
  f.seek(start)
  return _TensorUnpickler(f).load()


def _read_storages(
    f: BinaryIO, tensors: list[_Tensor]
) -> dict[str, np.ndarray]:
  dtypes = {t.storage: t.dtype for t in tensors}
  storages = {}
  for key in _load(f):
    count = int(np.frombuffer(f.read(8), '<i8')[0])
    data = f.read(count * dtypes[key].itemsize)
    storages[key] = np.frombuffer(data, dtypes[key], count)
  return storages


def _check_digest(path: str) -> None:
  named = re.search(r'-([0-9a-f]{8,64})\.pth$', path)
  if not named:
    return
  with file_system.open(path, 'rb') as f:
    digest = hashlib.file_digest(f, 'sha256').hexdigest()
  if not digest.startswith(named[1]):
    raise ValueError(f'{path}: its sha256 begins {digest[:8]}, not '
                     f'{named[1]} as its name says; fetch the file again')


def read(path: str) -> dict[str, np.ndarray]:
  """Read every tensor of a legacy `.pth` file.

  Args:
    path: the file. If its name ends in `-<hex>.pth`, as PyTorch's hub names
      files, its sha256 must begin with these digits.

  Returns:
    tensor name -> array, in PyTorch's layout (convolutions `[O, I, H, W]`).

  Raises:
    OSError: the file cannot be read.
    ValueError: it is damaged, of another format, or holds anything but
      tensors.
  """
  if not file_system.isfile(path):
    raise FileNotFoundError(f'{path}: no such weights file')
  _check_digest(path)
  with file_system.open(path, 'rb') as f:
    try:
      if _load(f) != _MAGIC_NUMBER:
        raise ValueError('no legacy PyTorch file')
      _load(f)  # Protocol version.
      _load(f)  # Sizes and endianness of the writer.
      tensors = {name: value for name, value in _load(f).items()
                 if isinstance(value, _Tensor)}
      storages = _read_storages(f, list(tensors.values()))
      return {name: _view(storages[t.storage], t)
              for name, t in tensors.items()}
    except Exception as error:  # Damaged pickles raise nearly anything.
      raise ValueError(
          f'{path}: not a readable PyTorch weights file '
          f'({type(error).__name__}: {error})') from None


def _view(storage: np.ndarray, tensor: _Tensor) -> np.ndarray:
  # Range checks first: as_strided itself would read outside the storage.
  last = tensor.offset + sum(
      (n - 1) * s for n, s in zip(tensor.shape, tensor.stride, strict=True))
  if (min((0, tensor.offset, *tensor.stride)) < 0 or last >= storage.size
      or math.prod(tensor.shape) > storage.size):
    raise ValueError('a tensor lies outside its storage')
  strides = [s * storage.itemsize for s in tensor.stride]
  # No copy: any number of tensors may share a storage.
  return np.lib.stride_tricks.as_strided(
      storage[tensor.offset:], tensor.shape, strides, writeable=False)
