"""Files made to fill the memory or to run code, given to every command."""

import io
import json
import pathlib
import pickle
import shutil
import struct
import zipfile
import zlib

import h5py
import numpy as np
from bench import Row, Workplace, error_of, tail
from PIL import Image

from im2txt import configuration
from im2txt.text import vocabulary

_INCEPTION = (
    '--config.model.encoder=inception_v3', '--config.model.image_height=80',
    '--config.model.image_width=80')
_MOST = 300  # MB that a hostile file may cost beyond a harmless one.


class _Code:
  """Pickled, it runs a command where it is loaded."""

  def __init__(self, evidence: pathlib.Path):
    self._evidence = evidence

  def __reduce__(self):
    import os
    return os.system, (f'touch {self._evidence}',)


def _png(path: pathlib.Path, width: int, height: int) -> None:
  rows = zlib.compressobj(9)
  data = b''.join([rows.compress(bytes(width // 8 + 1))
                   for _ in range(height)] + [rows.flush()])
  path.write_bytes(b'\x89PNG\r\n\x1a\n' + b''.join(
      struct.pack('>I', len(body)) + kind + body
      + struct.pack('>I', zlib.crc32(kind + body)) for kind, body in (
          (b'IHDR', struct.pack('>IIBBBBB', width, height, 1, 0, 0, 0, 0)),
          (b'IDAT', data), (b'IEND', b''))))


def _jpeg(path: pathlib.Path, side: int) -> None:
  buffer = io.BytesIO()
  Image.new('RGB', (16, 16)).save(buffer, 'JPEG')
  data = bytearray(buffer.getvalue())
  at = data.index(b'\xff\xc0') + 5
  data[at:at + 4] = struct.pack('>HH', side, side)
  path.write_bytes(data)


def images(run: pathlib.Path, good: pathlib.Path, place: Workplace) -> Row:
  """Decompression bombs under run_inference and a builder."""
  row = Row('decompression bombs (PNG, JPEG, GIF, TIFF, BMP)')
  folder = place.new('bombs')
  shutil.copytree(good, folder)
  _png(folder / 'bomb1.png', 30_000, 30_000)
  _png(folder / 'bomb2.png', 13_000, 13_000)
  _jpeg(folder / 'bomb3.jpg', 13_000)
  Image.new('L', (3000, 3000)).save(
      folder / 'bomb4.gif', save_all=True, append_images=[
          Image.new('L', (3000, 3000), i) for i in range(1, 30)])
  Image.new('1', (20_000, 20_000)).save(
      folder / 'bomb5.tif', compression='tiff_lzw')
  (folder / 'bomb6.bmp').write_bytes(b'BM' + struct.pack(
      '<IHHIIiiHHIIiiII', 100, 0, 0, 54, 40, 30_000, 30_000, 1, 24,
      *[0] * 6) + bytes(100))
  bombs = sorted(folder.glob('bomb*'))
  arguments = ['im2txt.run_inference', f'--checkpoint_path={run}']
  finished, plain = _measured([*arguments, good], place)
  if finished.returncode:
    row.mistakes.append(tail(finished))
  finished, peak = _measured([*arguments, folder], place)
  told = [line for line in finished.lines if 'cannot be read' in line]
  row.tried += len(bombs)
  row.message = told[0] if told else ''
  most = peak - plain
  if (finished.returncode != 1 or len(told) != len(bombs) - 1
      or 'Traceback' in finished.stderr):  # Of a GIF one frame is decoded.
    row.mistakes.append(tail(finished))
  if peak - plain > _MOST:
    row.mistakes.append(f'run_inference took {peak} MB, not {plain}')
  finished, plain, _ = _built(good, place)
  if finished.returncode:
    row.mistakes.append(tail(finished))
  # Of it and its workers.
  finished, peak, out = _built(folder, place)
  row.tried += len(bombs)
  most = max(most, peak - plain)
  row.lost = f'nothing; {most} MB more'
  if peak - plain > _MOST:
    row.mistakes.append(f'a builder took {peak} MB, not {plain}')
  bad = (out / 'bad_images.txt').read_text().splitlines()
  # A builder decodes one frame of a GIF.
  if finished.returncode or len(bad) != len(bombs) - 1:
    row.mistakes.append(f'{len(bad)} bad images, {tail(finished)}')
  return row


def weights(
    config: pathlib.Path, shards: pathlib.Path, run: pathlib.Path,
    good: pathlib.Path, place: Workplace,
) -> Row:
  """A .pth and an .h5 as the encoder's weights, an .npz as a model."""
  row = Row('a .pth, .h5 or .npz built to run code or to take 100 GB')
  evidence = place.new('evidence')
  head = b''.join(map(pickle.dumps, (0x1950A86A20F9469CFC6C, 1001, {})))
  folder = place.new('weights')
  folder.mkdir()
  for name, body in (
      ('code', pickle.dumps({'a': _Code(evidence)})),
      ('numbers', b'\x80\x02}r\xff\xff\xff\x7f.'),
      ('bytes', b'\x80\x04\x8e' + struct.pack('<Q', 100 * 2**30) + b'x.')):
    (folder / f'{name}.pth').write_bytes(head + body)
  with h5py.File(folder / 'fill.h5', 'w') as f:
    f.create_dataset('conv2d/kernel:0', (10**6, 25_000), chunks=(1000, 1000),
                     fillvalue=1.0)
  models = []
  for name, write in (('bomb', lambda z: z.writestr('a.npy', bytes(2**28))),
                      ('claim', _claim), ('code', lambda z: z.writestr(
                          'a.npy', _objects(_Code(evidence))))):
    models.append(folder / name / 'weights.npz')
    models[-1].parent.mkdir()
    for beside in (configuration.CONFIG_FILE, vocabulary.FILE_NAME):
      shutil.copy(run / beside, models[-1].parent)
    with zipfile.ZipFile(models[-1], 'w', zipfile.ZIP_DEFLATED) as z:
      write(z)
  caching = ['data_prep.cache_features', f'--config={config}',
             f'--input_file_pattern={shards}/val-*-of-?????']
  finished, plain = _measured([*caching, f'--output_dir={place.new()}'], place)
  if finished.returncode:
    row.mistakes.append(tail(finished))
  commands = {
      path: [*caching, f'--inception_checkpoint_file={path}',
             *_INCEPTION * (path.suffix == '.h5'),
             f'--output_dir={place.new()}']
      for path in (*sorted(folder.glob('*.pth')), folder / 'fill.h5')}
  commands |= {path: ['im2txt.run_inference', f'--checkpoint_path={path}',
                      str(good)] for path in models}
  most = 0
  for path, command in commands.items():
    finished, peak = _measured(command, place)
    row.tried += 1
    most = max(most, peak - plain)
    row.message = error_of(finished)
    if str(path) not in row.message or peak - plain > _MOST:
      row.mistakes.append(f'{path}: {peak} MB, {tail(finished)}')
  if evidence.exists():
    row.mistakes.append('code was run')
  row.lost = f'nothing; {most} MB more'
  return row


def texts(good: pathlib.Path, place: Workplace) -> Row:
  """Annotations that no builder shall believe."""
  row = Row('hostile annotations: nesting, NaN, keys twice, bytes, names')
  outside = place.new('outside')
  outside.mkdir()
  shutil.copy(next(good.glob('*.jpg')), outside / 'secret.jpg')

  folder = place.new('images')
  shutil.copytree(good, folder)
  (folder / 'link.jpg').symlink_to(outside / 'secret.jpg')

  def of_file(name: str) -> bytes:
    return json.dumps({
        'images': [{'id': 1, 'file_name': name}],
        'annotations': [{'id': 1, 'image_id': 1, 'caption': 'a'}]}).encode()

  most = 0
  plain = None
  for content in (
      b'{}', b'[' * 10**6, b'{"images":' * 10**6, b'{"images": [NaN]}',
      b'{"images": [], "images": []}', b'{"images": "\xff"}',
      of_file('../outside/secret.jpg'), of_file(str(outside / 'secret.jpg')),
      of_file('link.jpg'),
      of_file('a\0.jpg'), of_file('\ud800.jpg'), of_file('x' * 10**6)):
    path = place.new('captions').with_suffix('.json')
    path.write_bytes(content)
    out = place.new()
    finished, peak = _measured([
        'data_prep.build_coco_data', '--split=random',
        f'--train_image_dir={folder}', f'--train_captions_file={path}',
        f'--output_dir={out}'], place)
    plain = plain or peak
    most = max(most, peak - plain)
    row.tried += 1
    line = error_of(finished)
    row.message = line or row.message
    if (not line or path.name not in line or out.exists()
        or peak - plain > _MOST):
      row.mistakes.append(f'{content[:60]}: {peak} MB, {tail(finished)}')
  row.lost = f'nothing; {most} MB more'
  return row


def _built(images: pathlib.Path, place: Workplace):
  captions, out = place.new('captions').with_suffix('.csv'), place.new()
  captions.write_text('image,caption\n' + ''.join(
      f'{path.name},a dog\n' for path in sorted(images.iterdir())))
  return *_measured([
      'data_prep.build_custom_data', f'--captions_file={captions}',
      f'--image_dir={images}', f'--output_dir={out}', '--train_shards=1',
      '--val_fraction=0', '--max_bad_fraction=1'], place), out


def _claim(archive: zipfile.ZipFile) -> None:
  head = io.BytesIO()
  np.lib.format.write_array_header_1_0(head, {
      'descr': '<f4', 'fortran_order': False, 'shape': (25 * 10**9,)})
  archive.writestr('a.npy', head.getvalue())


def _objects(value: object) -> bytes:
  buffer = io.BytesIO()
  np.lib.format.write_array(buffer, np.array([value], object))
  return buffer.getvalue()


def _measured(arguments, place: Workplace):
  command = place.start(arguments)
  finished = command.finish()
  return finished, place.peak(command)
