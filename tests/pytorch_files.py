"""PyTorch files of tensors, written without PyTorch."""

import pickle
import struct


def integers(*values):
  return b'(' + b''.join(b'I%d\n' % value for value in values) + b't'


def tensor(key, shape, stride, offset=0, storage='FloatStorage'):
  """Pickle of a tensor, as torch.save writes it but in readable opcodes."""
  return (b'ctorch._utils\n_rebuild_tensor_v2\n('
          b'(Vstorage\nctorch\n' + storage.encode() + b'\nV' + key.encode() +
          b'\nVcpu\nI0\nNtQ' +  # Persistent id: kind, type, key, place, size.
          b'I%d\n' % offset + integers(*shape) + integers(*stride) +
          b'I00\nccollections\nOrderedDict\n(tRtR')


def dictionary(**tensors):
  return b'(d' + b''.join(
      b'V' + name.encode() + b'\n' + value + b's'
      for name, value in tensors.items()) + b'.'


def legacy_file(pickled, **storages):
  """A file of torch/serialization.py's `_legacy_save`."""
  return (pickle.dumps(0x1950A86A20F9469CFC6C) + pickle.dumps(1001) +
          pickle.dumps({'protocol_version': 1001, 'little_endian': True}) +
          pickled + pickle.dumps(list(storages)) +
          b''.join(struct.pack('<q', a.size) + a.tobytes()
                   for a in storages.values()))
