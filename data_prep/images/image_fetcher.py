"""Download images by their URLs, and note which cannot be had.

The folder's `fetch.jsonl` gets a line for each URL that was tried:

  {"url": "http://...", "status": "done"}
  {"url": "http://...", "status": "failed", "reason": "404 Not Found",
   "passing": false}

A URL is not tried again once it failed for a reason that will not pass. An
image is done if its file is there, whatever the line says.
"""

import hashlib
import ipaddress
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
from urllib3.util import Retry

from data_prep.images import connections, stored_images
from im2txt.files import (
    atomic_files,
    file_system,
    json_files,
    json_lines,
    locks,
)

JOURNAL = 'fetch.jsonl'

_CHUNK_BYTES = 1 << 16
_MAX_REDIRECTS = 10


class RemoteImage(NamedTuple):
  """An image to fetch."""
  url: str
  path: str  # Its file; the folder need not be there.


class Limits(NamedTuple):
  """What an image may cost."""
  timeout_secs: float = 10     # To connect, and between any two bytes.
  total_secs: float = 60       # For one try.
  max_bytes: int = 20_000_000
  retries: int = 2             # Further tries after a temporary failure.
  wait_secs: float = 1         # Before the first of these; doubled each time.


class _FetchError(Exception):
  """Why an image cannot be had."""

  def __init__(self, reason: str, is_temporary: bool):
    super().__init__(' '.join(reason.split()))
    self.is_temporary = is_temporary  # Whether a later run tries it again.


class _Download(NamedTuple):
  """The result of a download: the body, or the error that ended it."""
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
  """Fetch images that are not there yet; one that fails is no error.

  Args:
    images: what to fetch; read only a few images ahead of the threads.
    folder: existing folder of the journal.
    limits: what one image may cost.
    threads: number of downloads at a time.
    retry_failed: whether to try URLs again that failed for good in an earlier
      run.
    total: number of `images`, for the progress bar.

  Raises:
    OSError: a file cannot be written, or another process fetches into the
      folder.
    ValueError: the journal is damaged.
  """
  counts: Counter[str] = Counter()
  with (_Journal(os.path.join(folder, JOURNAL)) as journal,
        tqdm(desc='fetching images', total=total, unit='image',
             disable=None) as bar):

    def pending() -> Iterator[RemoteImage]:
      # Hashes of URLs to skip and of files already asked for. They share the
      # journal's set: it can have millions, and nobody else reads it.
      skipped: set[bytes] = set() if retry_failed else journal.failed_for_good
      for image in images:
        file = _hash(image.path)  # A URL can have several files.
        if file in skipped or _hash(image.url) in skipped:
          bar.update()
        else:
          skipped.add(file)
          yield image

    for image, body, error in _download_all(pending(), limits, threads):
      try:
        if error:
          raise error
        _write_image(body, image.path)
        journal.append_done(image.url)
        counts['done'] += 1
      except _FetchError as failure:
        journal.append_failed(image.url, failure)
        counts['temporary' if failure.is_temporary else 'for good'] += 1
      bar.update()
  logging.info('fetched %d images; %d cannot be had, %d not now: see %s',
               counts['done'], counts['for good'], counts['temporary'],
               os.path.join(folder, JOURNAL))


class _Journal:
  """The file of results, for one process at a time."""

  def __init__(self, path: str):
    """Open or create the file; drop an incomplete last line.

    Raises:
      OSError: it cannot be read or written, or another process has it open.
      ValueError: it is damaged.
    """
    self.failed_for_good: set[bytes] = set()  # Hashes of URLs.
    self._path = path
    self._file = file_system.open(path, 'a+b')
    try:
      locks.file(self._file, path, 'fetching into this folder')
      self._read()
    except BaseException:
      self._file.close()
      raise

  def append_done(self, url: str) -> None:
    """Write that an image is there."""
    self._write({'url': url, 'status': 'done'})

  def append_failed(self, url: str, failure: _FetchError) -> None:
    """Write that an image cannot be had, and why."""
    self._write({'url': url, 'status': 'failed', 'reason': str(failure),
                 'passing': failure.is_temporary})

  def __enter__(self) -> '_Journal':
    return self

  def __exit__(self, *_: object) -> None:
    self._file.close()

  def _write(self, line: dict[str, str | bool]) -> None:
    self._file.write(json_lines.to_line(line))
    self._file.flush()

  def _read(self) -> None:
    self._file.seek(0)
    for _, (url, is_final) in json_lines.recover(
        self._file, self._path, _parse_line,
        'line of a journal of fetched images', 'delete it'):
      # The last line of a URL counts.
      if is_final:
        self.failed_for_good.add(url)
      else:
        self.failed_for_good.discard(url)


def _parse_line(line: bytes) -> tuple[bytes, bool]:
  """Return a URL's hash, and whether it failed for good."""
  entry = json_files.parse(line)
  return (_hash(entry['url']),
          entry['status'] == 'failed' and not entry['passing'])


def _hash(text: str) -> bytes:
  # Millions of these are kept in memory, and URLs can be long.
  return hashlib.sha256(text.encode(errors='surrogateescape')).digest()[:16]


def _write_image(body: bytes, path: str) -> None:
  """Write the file of an image.

  Raises:
    _FetchError: the body is no image that can be used.
  """
  file_system.makedirs(os.path.dirname(path))
  with atomic_files.replacing(path, synced=False) as temporary:
    with file_system.open(temporary, 'wb') as f:
      f.write(body)
    # In the main thread only: it silences Pillow's warnings for all threads.
    problem = stored_images.check(
        temporary, stored_images.ImageFormat()).problem
    if problem:
      raise _FetchError(problem, is_temporary=False)


def _download_all(
    images: Iterable[RemoteImage], limits: Limits, threads: int
) -> Iterator[_Download]:
  """Yield downloads as they end; at most a few images are under way."""
  todo: queue.SimpleQueue[RemoteImage | None] = queue.SimpleQueue()
  done: queue.SimpleQueue[_Download] = queue.SimpleQueue()
  for _ in range(threads):
    # No thread pool: after Ctrl-C it would wait for the slowest server.
    threading.Thread(
        target=_work, args=(todo, done, limits), daemon=True).start()
  under_way = 0
  try:
    for image in images:
      todo.put(image)
      under_way += 1
      if under_way == 2 * threads:
        yield done.get()
        under_way -= 1
    for _ in range(under_way):
      yield done.get()
  finally:
    for _ in range(threads):
      todo.put(None)


def _work(
    todo: 'queue.SimpleQueue[RemoteImage | None]',
    done: 'queue.SimpleQueue[_Download]',
    limits: Limits,
) -> None:
  while image := todo.get():
    try:
      done.put(_Download(image, _download(image.url, limits)))
    except Exception as error:  # Any: the main thread waits for a result.
      done.put(_Download(image, error=error))


def _download(url: str, limits: Limits) -> bytes:
  retry = Retry(limits.retries, backoff_factor=limits.wait_secs)
  while True:
    try:
      return _request(url, limits)
    except ValueError as error:  # No URL that requests can use.
      raise _FetchError(str(error), is_temporary=False) from None
    except connections.CONNECTION_ERRORS as error:
      cause = connections.root_cause(error)
      wait = connections.wait_secs(retry, error)
      asked = connections.retry_after_secs(retry, error) or 0.0
      # Both errors may pass, but not in seconds.
      if (not retry.total or asked > limits.total_secs or isinstance(
          cause, (socket.gaierror, ssl.SSLCertVerificationError))):
        raise _FetchError(str(cause), is_temporary=True) from None
      retry = retry.increment('GET', url, error=error)
    time.sleep(wait)


class _Session(requests.Session):
  """Follow no redirections: requests would read the whole body of each."""

  def __init__(self) -> None:
    super().__init__()
    # Without it, requests would send the user's passwords from ~/.netrc.
    self.auth = lambda request: request

  def get_redirect_target(self, resp: requests.Response) -> None:
    """Return None, so that requests follows nothing."""

  def next_url(self, response: requests.Response) -> str | None:
    """Return the URL that a response redirects to, if it does."""
    target = super().get_redirect_target(response)
    return target and urljoin(response.url, target)


def _request(first_url: str, limits: Limits) -> bytes:
  deadline = time.monotonic() + limits.total_secs
  url: str | None = first_url
  with _Session() as session:
    for redirections in range(_MAX_REDIRECTS + 1):
      if not url.lower().startswith(('http://', 'https://')):
        raise _FetchError(f'{url} is no http(s) address', is_temporary=False)
      if redirections and _is_internal(url) and not _is_internal(first_url):
        raise _FetchError(f'redirected to {url}, which is not on the public '
                          'internet', is_temporary=False)
      _check_deadline(deadline, limits)
      with session.get(url, stream=True, timeout=limits.timeout_secs,
                       headers={'Accept-Encoding': 'identity'}) as response:
        url = session.next_url(response)
        if url is None:
          return _read_body(response, deadline, limits)
  raise _FetchError(
      f'more than {_MAX_REDIRECTS} redirections', is_temporary=False)


def _is_internal(url: str) -> bool:
  """Return whether a server is this machine or one of a private network.

  Redirections from a public server to such a one are refused. A name that
  resolves to another address a moment later (DNS rebinding) is not noticed,
  nor is one that only a proxy can resolve.

  Raises:
    ValueError: the URL is not valid.
  """
  # As requests parses it: other parsers may find another host in it.
  host = urlsplit(requests.Request('GET', url).prepare().url).hostname
  try:
    found = socket.getaddrinfo(host, None)
  except socket.gaierror:  # The request will say so.
    return False
  return not all(ipaddress.ip_address(address).is_global
                 for *_, (address, *_) in found)


def _read_body(
    response: requests.Response, deadline: float, limits: Limits
) -> bytes:
  connections.check_status(response)
  if response.status_code != 200:
    raise _FetchError(f'{response.status_code} {response.reason}',
                      is_temporary=False)
  encoding = response.headers.get('Content-Encoding') or 'identity'
  if encoding.lower() != 'identity':  # Decompressed it could have any size.
    raise _FetchError(f'Content-Encoding {encoding}', is_temporary=False)
  length = response.headers.get('Content-Length', '')
  size, body = int(length) if length.isdecimal() else 0, bytearray()
  # Unlike iter_content, read1 does not wait for a whole chunk: a server that
  # sends a byte now and then would never fill it.
  while (size <= limits.max_bytes
         and (chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False))):
    body += chunk
    size = len(body)
    _check_deadline(deadline, limits)
  if size > limits.max_bytes:
    raise _FetchError(f'more than {limits.max_bytes} bytes', is_temporary=False)
  return bytes(body)


def _check_deadline(deadline: float, limits: Limits) -> None:
  if time.monotonic() > deadline:
    raise _FetchError(
        f'takes more than {limits.total_secs:g} s', is_temporary=True)
