r"""Fetch the public data sets and weights.

Example:
  python -m data_prep.download coco2014 inception_v3 --output_dir data

makes data/coco2014/{train2014,val2014,annotations} and
data/inception_v3/inception_v3.ckpt. There are coco2014, coco2017,
flickr8k-text, inception_v3 and resnet_v1_152. A folder appears once it is
whole, and one that is there is not fetched again. After a break start the same
command again: it goes on where it stopped. Where an address has moved:

  python -m data_prep.download inception_v3 --output_dir data \
    --url inception_v3_2016_08_28.tar.gz=https://mirror.example/v3.tar.gz
"""

import contextlib
import gzip
import hashlib
import json
import os
import re
import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import requests
from absl import flags, logging
from tqdm import tqdm
from urllib3.util import Retry

from data_prep.images import connections
from im2txt import command_line
from im2txt.files import file_system


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.output_dir = flags.DEFINE_string(
        'output_dir', None, "Folder for the data sets' folders.", required=True,
        flag_values=values)
    self.url = flags.DEFINE_multi_string(
        'url', [], 'ARCHIVE=ADDRESS: fetch that archive from another address. '
        'Where its size or checksum is known it must be the very same file. '
        'May be repeated.', flag_values=values)


class Archive(NamedTuple):
  """A published zip or tar.gz file and what is known of it."""
  name: str  # What --url calls it; no two are called the same.
  url: str
  root: str = ''  # The folder in it that is wanted; '' for all there is.
  size: int | None = None  # Bytes; None where nobody publishes it.
  checksum: str = ''  # 'algorithm:hex digits'; '' where nobody publishes one.

  @property
  def elsewhere(self) -> str:
    return f'give another address with --url {self.name}=ADDRESS'


def _coco(name: str, size: int, sha256: str) -> Archive:
  root = re.match('[a-z]+[0-9]*', name)[0]
  kind = 'annotations' if root == 'annotations' else 'zips'
  return Archive(name, f'http://images.cocodataset.org/{kind}/{name}', root,
                 size, f'sha256:{sha256}')


def _slim(name: str) -> Archive:
  return Archive(name, f'http://download.tensorflow.org/models/{name}')


# COCO itself publishes no checksums; tensorflow-datasets publishes these, and
# the sizes, for the same addresses (url_checksums/coco_captions.txt).
# Flickr8k's is mlverse/torchvision's. None was found for slim's weights.
DATASETS = {
    'coco2014': [
        _coco('train2014.zip', 13510573713, 'ede4087e640bddba550e090eae7010'
              '92534b554b42b05ac33f0300b984b31775'),
        _coco('val2014.zip', 6645013297, 'fe9be816052049c34717e077d9e34aa60'
              '814a55679f804cd043e3cbee3b9fde0'),
        _coco('annotations_trainval2014.zip', 252872794, '031296bbc80c45a1d'
              '1f76bf9a90ead27e94e99ec629208449507a4917a3bf009')],
    'coco2017': [
        _coco('train2017.zip', 19336861798, '69a8bb58ea5f8f99d24875f21416de'
              '2e9ded3178e903f1f7603e283b9e06d929'),
        _coco('val2017.zip', 815585330, '4f7e2ccb2866ec5041993c9cf2a952bbed'
              '69647b115d0f74da7ce8f4bef82f05'),
        _coco('annotations_trainval2017.zip', 252907541, '113a836d90195ee1f'
              '884e704da6304dfaaecff1f023f49b6ca93c4aaae470268')],
    'flickr8k-text': [
        Archive('Flickr8k_text.zip', 'https://github.com/jbrownlee/Datasets/'
                'releases/download/Flickr8k/Flickr8k_text.zip',
                checksum='md5:bf6c1abcb8e4a833b7f922104de18627')],
    'inception_v3': [_slim('inception_v3_2016_08_28.tar.gz')],
    'resnet_v1_152': [_slim('resnet_v1_152_2016_08_28.tar.gz')],
}

_CHUNK_BYTES = 1 << 18
_TIMEOUT_SECS = 60
_MAX_WAIT_SECS = 600  # A server that says a longer Retry-After is left.
_BROKEN_ARCHIVE = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error,
    EOFError, RuntimeError)  # The last is zipfile's for an encrypted member.


def _choose(datasets: Sequence[str],
            addresses: Sequence[str]) -> list[tuple[str, Archive]]:
  replaced = dict(text.partition('=')[::2] for text in addresses)
  names = [a.name for archives in DATASETS.values() for a in archives]
  for name, address in replaced.items():
    if name not in names:
      raise ValueError(f"--url: no archive '{name}' in {', '.join(names)}")
    if not re.fullmatch('https?://[!-~]+', address):
      raise ValueError(f"--url {name}: '{address}' is no http(s) address")
  if not datasets or not set(datasets) <= set(DATASETS):
    raise ValueError(f"cannot fetch '{' '.join(datasets)}'; name one or more "
                     f"of {', '.join(DATASETS)}")
  return [(dataset, archive._replace(url=replaced.get(archive.name,
                                                      archive.url)))
          for dataset in datasets for archive in DATASETS[dataset]]


def fetch(archive: Archive, folder: Path) -> None:
  """Make `folder`/`archive.root`, whole or not at all, if it is not there.

  Args:
    archive: what to fetch; it passes through the folder above `folder`.
    folder: the data set's.

  Raises:
    OSError: if the archive cannot be had or written.
    ValueError: if the archive is not the published one, is broken, lacks its
      `root` or would write outside of it.
  """
  target = folder / archive.root
  if target.is_dir() and any(target.iterdir()):
    print(f'{target} is already there; remove it to fetch it again')
    return
  print(f'{archive.name} from {archive.url}', flush=True)
  folder.parent.mkdir(parents=True, exist_ok=True)
  part = folder.parent / f'{archive.name}.part'
  download(archive, part)
  try:
    _verify(archive, part)
    _unpack(archive, part, target)
  except ValueError as error:
    _discard(part)
    raise ValueError(f'{archive.name} from {archive.url}: {error}; deleted it; '
                     f'{archive.elsewhere}') from error
  _discard(part)
  print(f'{target} is ready')


def download(archive: Archive, part: Path, retries: int = 5,
             wait_secs: float = 1.0) -> None:
  """Download an archive, going on from what an earlier try left.

  Args:
    archive: what to download.
    part: file to write; a note beside it says what it is the start of.
    retries: further tries before giving up; any new bytes bring them back.
    wait_secs: seconds before the first of these, doubled before each next.

  Raises:
    OSError: if the server refuses or keeps breaking off, or the disk is full.
    ValueError: if the server's file has another size than the published one.
  """
  retry = all_retries = Retry(retries, backoff_factor=wait_secs)
  most = 0
  while True:
    try:
      return _transfer(archive, part)
    except connections.CONNECTION_ERRORS as error:
      if isinstance(error, ValueError):  # No address that requests can use.
        raise
      have = part.stat().st_size if part.exists() else 0
      if have > most:
        retry, most = all_retries, have
      cause = connections.root_cause(error)
      wait = connections.wait_secs(retry, error)
      if not retry.total or wait > _MAX_WAIT_SECS:
        raise OSError(f'{archive.url}: {cause}; start again to go on, '
                      f'or {archive.elsewhere}') from None
      retry = retry.increment('GET', archive.url, error=error)
    logging.warning('%s: %s; trying again in %g s', archive.name, cause, wait)
    time.sleep(wait)


def _transfer(archive: Archive, part: Path) -> None:
  # A start without a note is not built on: where no checksum is known, the
  # halves of two versions would pass for a file.
  note, have = {}, 0
  with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
    note = json.loads(_note_path(part).read_text())
    have = part.stat().st_size if note['url'] == archive.url else 0
  if have and have == note['size']:
    return
  headers = {'Accept-Encoding': 'identity'}
  if have:
    headers |= {'Range': f'bytes={have}-', 'If-Range': note['version']}

  with requests.get(archive.url, headers=headers, stream=True,
                    timeout=_TIMEOUT_SECS) as response:
    connections.check_status(response)
    status = response.status_code
    if status == 200:
      length = response.headers.get('Content-Length')
      have, size = 0, int(length) if length else None
      note = {'url': archive.url, 'version': _version(response), 'size': size}
    elif have and status in (206, 416):
      size = note['size']
      if not _continues(response, have, note):
        _discard(part)
        raise requests.ConnectionError('the file has changed on the server')
    else:
      raise OSError(f'{archive.url} answered {status} {response.reason}; '
                    f'{archive.elsewhere}')
    if size and archive.size and size != archive.size:
      raise ValueError(f'{archive.url} has {size} bytes, not the published '
                       f'{archive.size}; {archive.elsewhere}')
    _check_space(part.parent, 2 * (size or 0) - have)

    with (open(part, 'ab' if have else 'wb') as output,
          _bar(archive.name, size, have) as bar):
      if not have:  # Only now is nothing of an older version left.
        _note_path(part).unlink(missing_ok=True)
        if note['version'] and size:
          _note_path(part).write_text(json.dumps(note))
      for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
        output.write(chunk)
        bar.update(len(chunk))
  if size and part.stat().st_size != size:
    raise requests.ConnectionError(f'the connection closed before byte {size}')


def _version(response: requests.Response) -> str | None:
  # If-Range takes no weak ETag (W/"...").
  etag = response.headers.get('ETag', 'W/')
  return response.headers.get('Last-Modified') if etag[:2] == 'W/' else etag


def _continues(response: requests.Response, have: int, note: dict) -> bool:
  # Not every server that knows Range knows If-Range.
  rest = f'bytes {have}-{note["size"] - 1}/{note["size"]}'
  return (response.headers.get('Content-Range') == rest and
          _version(response) in (None, note['version']))


def _note_path(part: Path) -> Path:
  return part.with_name(f'{part.name}.json')


def _discard(part: Path) -> None:
  part.unlink(missing_ok=True)
  _note_path(part).unlink(missing_ok=True)


def _check_space(folder: Path, needed: int) -> None:
  free = shutil.disk_usage(folder).free
  if free < needed:
    raise OSError(f'--output_dir {folder}: {needed / 1e9:.1f} GB needed to '
                  f'download and unpack, only {free / 1e9:.1f} GB free')


def _bar(label: str, size: int | None, done: int = 0) -> tqdm:
  return tqdm(desc=label, total=size, initial=done, unit='B', unit_scale=True,
              disable=None)


def _verify(archive: Archive, path: Path) -> None:
  size = path.stat().st_size
  if archive.size not in (None, size):
    raise ValueError(f'{size} bytes, not the published {archive.size}')
  if not archive.checksum:
    return
  algorithm, _, expected = archive.checksum.partition(':')
  digest = hashlib.new(algorithm, usedforsecurity=False)
  with open(path, 'rb') as file, _bar(f'checking {archive.name}', size) as bar:
    while chunk := file.read(_CHUNK_BYTES):
      digest.update(chunk)
      bar.update(len(chunk))
  if digest.hexdigest() != expected:
    raise ValueError(
        f'{algorithm} {digest.hexdigest()}, not the published {expected}')


def _unpack(archive: Archive, path: Path, target: Path) -> None:
  unpacking = path.with_name(f'{archive.name}.unpacking')
  shutil.rmtree(unpacking, ignore_errors=True)  # A killed run's.
  unpacking.mkdir()
  try:
    with open(path, 'rb') as file:
      for name, content in _files(file, f'unpacking {archive.name}'):
        if name.startswith('/') or '..' in name.split('/'):
          raise ValueError(f"'{name}' in it leads out of it")
        destination = unpacking / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        with open(destination, 'wb') as output:
          shutil.copyfileobj(content, output, _CHUNK_BYTES)
    if not any((unpacking / archive.root).glob('*')):
      raise ValueError(f"there is nothing in it under './{archive.root}'")
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(unpacking / archive.root, target)
  except _BROKEN_ARCHIVE as error:
    raise ValueError(f'not a whole zip or tar.gz file ({error})') from error
  finally:
    shutil.rmtree(unpacking, ignore_errors=True)


def _files(file: IO[bytes], label: str) -> Iterator[tuple[str, IO[bytes]]]:
  if zipfile.is_zipfile(file):
    with zipfile.ZipFile(file) as archive:
      for member in tqdm(archive.infolist(), label, unit=' files',
                         disable=None):
        if not member.is_dir():
          with archive.open(member) as content:
            yield member.filename, content
    return
  file.seek(0)
  with gzip.open(file) as tar, tarfile.open(fileobj=tar, mode='r|') as archive:
    for member in tqdm(archive, label, unit=' files', disable=None):
      if member.isreg():
        yield member.name, archive.extractfile(member)
      elif not member.isdir():
        # How a tar file reaches elsewhere; no archive of ours has any.
        raise ValueError(f"'{member.name}' in it is a link or a device")
    while tar.read(_CHUNK_BYTES):  # gzip's checksum is at the very end.
      pass


def main(flags_: Flags, datasets: Sequence[str]) -> None:
  """Fetch the data sets named on the command line."""
  file_system.check_local(
      flags_.output_dir.value, 'output_dir', 'archives are unpacked there')
  for dataset, archive in _choose(datasets, flags_.url.value):
    fetch(archive, Path(flags_.output_dir.value) / dataset)


if __name__ == '__main__':
  command_line.run(main, Flags, takes_arguments=True)
