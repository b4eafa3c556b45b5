"""Fetches images by their addresses, and remembers which cannot be had.

The folder's `fetch.jsonl` gets a line for each address that was tried:

  {"url": "http://...", "status": "done"}
  {"url": "http://...", "status": "failed", "reason": "404 Not Found",
   "passing": false}

An address is not asked again once it failed for a reason that will not pass;
whether it is done the image's file says and not the line.
"""

import hashlib
import ipaddress
import json
import os
import queue
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import requests
from absl import logging
from tqdm import tqdm

from data_prep.images import connections, stored_images
from im2txt.files import atomic_files, file_system, json_files, locks

JOURNAL = 'fetch.jsonl'

_CHUNK_BYTES = 1 << 16
_MAX_REDIRECTS = 10


class RemoteImage(NamedTuple):
  """An image to fetch."""
  url: str
  path: str  # Its file; the folder need not be there.


class Limits(NamedTuple):
  """What an image may cost."""
  silence_secs: float = 10     # To connect, and between any two bytes.
  total_secs: float = 60       # For one try.
  max_bytes: int = 20_000_000
  retries: int = 2             # Further tries after a passing failure.
  wait_secs: float = 1         # Before the first of these; doubled each time.


class _Failure(Exception):
  """Why an image cannot be had."""

  def __init__(self, reason: str, passing: bool):
    super().__init__(' '.join(reason.split()))
    self.passing = passing  # Whether a later run may have more luck.


class _Answer(NamedTuple):
  """What became of a download: a body, or what stood in its way."""
  image: RemoteImage
  body: bytes = b''
  error: Exception | None = None


def fetch(
    images: Iterable[RemoteImage],
    folder: str,
    limits: Limits,
    threads: int,
    retry_failed: bool,
    total: int | None = None,
) -> None:
  """Fetches images that are not there yet; one that fails is no error.

  Args:
    images: what to fetch; read only as far as the threads have come.
    folder: existing folder of the journal.
    limits: see there.
    threads: number of downloads at a time.
    retry_failed: asks addresses, too, that an earlier run found to fail for
      good.
    total: number of `images`, for the progress bar.

  Raises:
    OSError: a file cannot be written, or another process fetches into the
      folder.
    ValueError: the journal is damaged.
  """
  counts = Counter()
  with (_Journal(os.path.join(folder, JOURNAL)) as journal,
        tqdm(desc='fetching images', total=total, unit='image',
             disable=None) as bar):

    def untried() -> Iterator[RemoteImage]:
      # Keys of addresses not to ask and of files asked for, in the journal's
      # own set: it can be millions, and nobody else reads it.
      known = set() if retry_failed else journal.refused
      for image in images:
        file = _key(image.path)  # An address can have several.
        if file in known or _key(image.url) in known:
          bar.update()
        else:
          known.add(file)
          yield image

    for image, body, error in _download_all(untried(), limits, threads):
      try:
        if error:
          raise error
        _store(body, image.path)
        journal.done(image.url)
        counts['done'] += 1
      except _Failure as failure:
        journal.failed(image.url, failure)
        counts['passing' if failure.passing else 'refused'] += 1
      bar.update()
  logging.info('fetched %d images; %d cannot be had, %d not now: see %s',
               counts['done'], counts['refused'], counts['passing'],
               os.path.join(folder, JOURNAL))


class _Journal:
  """The file of outcomes, for one process at a time."""

  def __init__(self, path: str):
    """Opens it, or begins one; what a kill left of the last line is dropped.

    Raises:
      OSError: it cannot be read or written, or another process has it open.
      ValueError: it is damaged.
    """
    self.refused: set[bytes] = set()  # Keys of what failed for good.
    self._path = path
    self._file = file_system.open(path, 'a+b')
    try:
      locks.file(self._file, path, 'fetching into this folder')
      self._read()
    except BaseException:
      self._file.close()
      raise

  def done(self, url: str) -> None:
    """Notes that an image is there."""
    self._write({'url': url, 'status': 'done'})

  def failed(self, url: str, failure: _Failure) -> None:
    """Notes that an image is not to be had, and why."""
    self._write({'url': url, 'status': 'failed', 'reason': str(failure),
                 'passing': failure.passing})

  def __enter__(self) -> '_Journal':
    """Returns itself."""
    return self

  def __exit__(self, *_: object) -> None:
    """Closes it."""
    self._file.close()

  def _write(self, line: dict[str, str | bool]) -> None:
    self._file.write(json.dumps(line).encode('ascii') + b'\n')
    self._file.flush()

  def _read(self) -> None:
    self._file.seek(0)
    whole = 0
    for number, line in enumerate(self._file, 1):
      if not line.endswith(b'\n'):
        break
      try:
        entry = json_files.parse(line)
        key = _key(entry['url'])
        # The last line of an address counts.
        if entry['status'] == 'failed' and not entry['passing']:
          self.refused.add(key)
        else:
          self.refused.discard(key)
      except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(f'{self._path}:{number}: no line of a journal of '
                         'fetched images; delete it') from None
      whole += len(line)
    self._file.truncate(whole)


def _key(text: str) -> bytes:
  # Millions of these are kept in memory, and addresses can be long.
  return hashlib.sha256(text.encode(errors='surrogateescape')).digest()[:16]


def _store(body: bytes, path: str) -> None:
  """Writes an image's file, if it is one."""
  file_system.makedirs(os.path.dirname(path))
  with atomic_files.replacing(path, synced=False) as temporary:
    with file_system.open(temporary, 'wb') as f:
      f.write(body)
    # In one thread only: Pillow's warnings are silenced for all of them.
    problem = stored_images.problem(temporary, stored_images.Form())
    if problem:
      raise _Failure(problem, passing=False)


def _download_all(
    images: Iterable[RemoteImage], limits: Limits, threads: int
) -> Iterator[_Answer]:
  """Yields answers as they come, a few images ahead of them at most."""
  todo, answers = queue.SimpleQueue(), queue.SimpleQueue()
  for _ in range(threads):
    # Not a pool of futures: after Ctrl-C that waits for its slowest server.
    threading.Thread(
        target=_work, args=(todo, answers, limits), daemon=True).start()
  under_way = 0
  try:
    for image in images:
      todo.put(image)
      under_way += 1
      if under_way == 2 * threads:
        yield answers.get()
        under_way -= 1
    for _ in range(under_way):
      yield answers.get()
  finally:
    for _ in range(threads):
      todo.put(None)


def _work(
    todo: queue.SimpleQueue, answers: queue.SimpleQueue, limits: Limits
) -> None:
  while image := todo.get():
    try:
      answers.put(_Answer(image, _download(image.url, limits)))
    except Exception as error:  # A defect's, too, ends the main thread's wait.
      answers.put(_Answer(image, error=error))


def _download(url: str, limits: Limits) -> bytes:
  wait = limits.wait_secs
  for retries_left in reversed(range(limits.retries + 1)):
    try:
      return _transfer(url, limits)
    except ValueError as error:  # No address that requests can use.
      raise _Failure(str(error), passing=False) from None
    except connections.BROKEN as error:
      reason = connections.reason(error)
      # These may pass, but not in seconds.
      if not retries_left or isinstance(
          reason, (socket.gaierror, ssl.SSLCertVerificationError)):
        raise _Failure(str(reason), passing=True) from None
    time.sleep(wait)
    wait *= 2


class _Session(requests.Session):
  """Leaves redirections alone; following one, requests reads its whole body."""

  def __init__(self):
    """Makes one that tells nobody the user's passwords."""
    super().__init__()
    # Without any, requests looks for one in ~/.netrc.
    self.auth = lambda request: request

  def get_redirect_target(self, resp: requests.Response) -> None:
    """Says that there is none."""

  def next_url(self, response: requests.Response) -> str | None:
    """The address that an answer redirects to, if it does."""
    target = super().get_redirect_target(response)
    return target and urljoin(response.url, target)


def _transfer(first_url: str, limits: Limits) -> bytes:
  deadline = time.monotonic() + limits.total_secs
  url = first_url
  with _Session() as session:
    for redirections in range(_MAX_REDIRECTS + 1):
      if not url.lower().startswith(('http://', 'https://')):
        raise _Failure(f'{url} is no http(s) address', passing=False)
      if redirections and _is_internal(url) and not _is_internal(first_url):
        raise _Failure(f'redirected to {url}, which is not on the public '
                       'internet', passing=False)
      _check_time(deadline, limits)
      with session.get(url, stream=True, timeout=limits.silence_secs,
                       headers={'Accept-Encoding': 'identity'}) as response:
        url = session.next_url(response)
        if url is None:
          return _body(response, deadline, limits)
  raise _Failure(f'more than {_MAX_REDIRECTS} redirections', passing=False)


def _is_internal(url: str) -> bool:
  """Whether a server is this machine or one of a private network.

  It is asked before an image's server may send us on to there. A name that a
  moment later resolves to another address (DNS rebinding) escapes it, and so
  does one that only a proxy can resolve.

  Args:
    url: an address of the server.

  Raises:
    ValueError: the address is none.
  """
  # As requests understands it: others may find another host in it.
  host = urlsplit(requests.Request('GET', url).prepare().url).hostname
  try:
    found = socket.getaddrinfo(host, None)
  except socket.gaierror:  # The request will say so.
    return False
  return not all(ipaddress.ip_address(address).is_global
                 for *_, (address, *_) in found)


def _body(
    response: requests.Response, deadline: float, limits: Limits
) -> bytes:
  said = f'{response.status_code} {response.reason}'
  if connections.is_passing(response.status_code):
    raise requests.HTTPError(said)
  if response.status_code != 200:
    raise _Failure(said, passing=False)
  encoding = response.headers.get('Content-Encoding') or 'identity'
  if encoding.lower() != 'identity':  # Not asked for; unpacked it has no limit.
    raise _Failure(f'Content-Encoding {encoding}', passing=False)
  length = response.headers.get('Content-Length', '')
  size, body = int(length) if length.isdecimal() else 0, bytearray()
  # Unlike iter_content it does not wait for a whole chunk, which a server
  # that sends a byte now and then would take for ever to fill.
  while (size <= limits.max_bytes
         and (chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False))):
    body += chunk
    size = len(body)
    _check_time(deadline, limits)
  if size > limits.max_bytes:
    raise _Failure(f'more than {limits.max_bytes} bytes', passing=False)
  return bytes(body)


def _check_time(deadline: float, limits: Limits) -> None:
  if time.monotonic() > deadline:
    raise _Failure(f'takes more than {limits.total_secs:g} s', passing=True)
