"""Fetching images from a server on this machine that errs to order."""

import fcntl
import gzip
import http.server
import io
import itertools
import json
import signal
import socket
import ssl
import threading
import time

import pytest
import requests
from PIL import Image

from data_prep.datasets import conceptual_captions
from data_prep.images import image_fetcher
from data_prep.images.image_fetcher import RemoteImage

QUICK = image_fetcher.Limits(max_bytes=5000, retries=2, wait_secs=0)


def drawn(kind='JPEG'):
  buffer = io.BytesIO()
  Image.new('RGB', (13, 17), 'green').save(buffer, kind)
  return buffer.getvalue()


JPEG = drawn()


class Server(http.server.ThreadingHTTPServer):
  """Answer with `answers`: by path a (status, headers, body), one a time.

  The last one is given again and again.
  """

  daemon_threads = True

  def __init__(self):
    super().__init__(('127.0.0.1', 0), Handler)
    self.answers = {}
    self.requests = []
    self.passwords = []  # What `requests` had to show.
    self.stall = threading.Event()  # Cleared: answers do not end.
    self.stall.set()

  def url(self, name):
    return f'http://127.0.0.1:{self.server_port}/{name}'


class Handler(http.server.BaseHTTPRequestHandler):

  def do_GET(self):
    name = self.path.removeprefix('/')
    self.server.requests.append(name)
    self.server.passwords.append(self.headers['Authorization'])
    answers = self.server.answers.get(name, [(404, {}, b'')])
    status, headers, body = (
        answers.pop(0) if len(answers) > 1 else answers[0])
    self.send_response(status)
    for key, value in headers.items():
      self.send_header(key, value)
    self.end_headers()
    try:
      for piece in [body] if isinstance(body, bytes) else body:
        self.wfile.write(piece)
        self.server.stall.wait()
    except ConnectionError:  # It had enough.
      pass

  def log_message(self, *args):
    pass


@pytest.fixture
def server():
  with Server() as server:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.stall.set()
    server.shutdown()
    thread.join()


def ok(body):
  return [(200, {'Content-Length': str(len(body))}, body)]


def fetch(folder, *urls, limits=QUICK, retry_failed=False):
  images = [RemoteImage(url, str(folder / url.rpartition('/')[2]))
            for url in urls]
  image_fetcher.fetch(images, str(folder), limits, 3, retry_failed)


def journal(folder):
  """The journal's last lines by the address's last part."""
  lines = (folder / 'fetch.jsonl').read_text().splitlines()
  entries = map(json.loads, lines)
  return {entry['url'].rpartition('/')[2]: entry for entry in entries}


def files(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()
          if path.name != 'fetch.jsonl'}


def failure_of(folder, name):
  entry = journal(folder)[name]
  assert (entry['status'], files(folder)) == ('failed', {})
  return entry['reason'], entry['passing']


def test_images_are_fetched_whatever_their_kind(server, tmp_path):
  bodies = {kind: drawn(kind) for kind in ('JPEG', 'PNG', 'GIF', 'WEBP')}
  server.answers = {kind: ok(body) for kind, body in bodies.items()}
  # As servers do that make up the image as they go.
  server.answers['JPEG'] = [(200, {}, JPEG)]
  fetch(tmp_path, *map(server.url, bodies), *map(server.url, bodies))
  assert files(tmp_path) == bodies
  assert sorted(server.requests) == sorted(bodies)
  assert journal(tmp_path)['PNG'] == {
      'url': server.url('PNG'), 'status': 'done'}


def test_a_folder_in_the_folder_is_made(server, tmp_path):
  server.answers['a'] = ok(JPEG)
  image_fetcher.fetch(
      [RemoteImage(server.url('a'), str(tmp_path / 'b' / 'c.jpg'))],
      str(tmp_path), QUICK, 1, False)
  assert (tmp_path / 'b' / 'c.jpg').read_bytes() == JPEG


def test_a_busy_server_is_asked_again(server, tmp_path):
  broken = (200, {'Content-Length': str(len(JPEG))}, JPEG[:50])
  server.answers['a'] = [(500, {}, b''), broken, *ok(JPEG)]
  fetch(tmp_path, server.url('a'))
  assert files(tmp_path) == {'a': JPEG}
  assert server.requests == ['a'] * 3


def test_a_busy_server_says_when_to_ask_again(server, tmp_path):
  server.answers['a'] = [(503, {'Retry-After': '1'}, b''), *ok(JPEG)]
  started = time.monotonic()
  fetch(tmp_path, server.url('a'))
  assert files(tmp_path) == {'a': JPEG}
  assert time.monotonic() - started >= 1


def test_nobody_waits_longer_than_a_try_may_take(server, tmp_path):
  server.answers['a'] = [(429, {'Retry-After': '61'}, b''), *ok(JPEG)]
  fetch(tmp_path, server.url('a'))
  assert failure_of(tmp_path, 'a') == ('429 Too Many Requests', True)
  assert server.requests == ['a']


def test_waits_of_our_own_may_be_longer_than_a_try(server, tmp_path):
  server.answers['a'] = [(503, {}, b''), *ok(JPEG)]
  fetch(tmp_path, server.url('a'),
        limits=QUICK._replace(total_secs=0.5, wait_secs=0.6))
  assert files(tmp_path) == {'a': JPEG}
  assert server.requests == ['a'] * 2


def test_a_passing_failure_is_tried_in_the_next_run(server, tmp_path):
  server.answers['a'] = [(503, {}, b'')]
  fetch(tmp_path, server.url('a'))
  assert failure_of(tmp_path, 'a') == ('503 Service Unavailable', True)
  assert server.requests == ['a'] * 3
  server.answers['a'] = ok(JPEG)
  fetch(tmp_path, server.url('a'))
  assert files(tmp_path) == {'a': JPEG}


def test_an_address_of_two_files_is_asked_for_each(server, tmp_path):
  server.answers['a'] = ok(JPEG)
  image_fetcher.fetch([RemoteImage(server.url('a'), str(tmp_path / name))
                       for name in 'bcb'], str(tmp_path), QUICK, 1, False)
  assert files(tmp_path) == {'b': JPEG, 'c': JPEG}
  assert server.requests == ['a', 'a']


@pytest.mark.parametrize('status', [408, 425, 429, 500, 520, 527])
def test_a_status_that_passes(server, tmp_path, status):
  server.answers['a'] = [(status, {}, b''), *ok(JPEG)]
  fetch(tmp_path, server.url('a'))
  assert files(tmp_path) == {'a': JPEG}


@pytest.mark.parametrize('error', [
    socket.gaierror(-2, 'Name or service not known'),
    ssl.SSLCertVerificationError('certificate verify failed')])
def test_what_does_not_pass_in_seconds_is_tried_in_the_next_run(
    server, tmp_path, monkeypatch, error):
  asked = []

  def resolve(host, *args, **kwargs):
    asked.append(host)
    raise error

  with monkeypatch.context() as patch:
    patch.setattr(socket, 'getaddrinfo', resolve)
    fetch(tmp_path, server.url('a'))
  assert failure_of(tmp_path, 'a') == (str(error), True)
  assert asked == ['127.0.0.1']
  server.answers['a'] = ok(JPEG)
  fetch(tmp_path, server.url('a'))
  assert files(tmp_path) == {'a': JPEG}


@pytest.mark.parametrize(('answer', 'reason'), [
    ((404, {}, b''), '404 Not Found'),
    ((403, {}, JPEG), '403 Forbidden'),
    ((204, {}, b''), '204 No Content'),
    ((200, {}, b'<html>gone</html>'), 'not an image'),
    ((200, {}, b''), 'empty file'),
    ((200, {}, JPEG[:200]), 'Truncated File Read'),
    ((200, {'Content-Length': '5001'}, b''), 'more than 5000 bytes'),
    ((200, {}, itertools.repeat(b'x' * 999)), 'more than 5000 bytes'),
    ((200, {'Content-Encoding': 'gzip'}, gzip.compress(JPEG)),
     'Content-Encoding gzip'),
    ((302, {'Location': 'file:///etc/passwd'}, b''), 'file:///etc/passwd is'),
    ((302, {'Location': '/a'}, b''), 'more than 10 redirections'),
], ids=['gone', 'forbidden', 'nothing', 'page', 'empty', 'half', 'announced',
        'endless', 'packed', 'to a file', 'circle'])
def test_a_lasting_failure_is_not_tried_again(
    server, tmp_path, answer, reason):
  server.answers['a'] = [answer]
  fetch(tmp_path, server.url('a'))
  said, passing = failure_of(tmp_path, 'a')
  assert said.startswith(reason) and not passing
  asked = len(server.requests)
  assert asked == (11 if 'redirections' in reason else 1)
  server.answers['a'] = ok(JPEG)
  fetch(tmp_path, server.url('a'))
  assert len(server.requests) == asked and not files(tmp_path)
  fetch(tmp_path, server.url('a'), retry_failed=True)
  assert files(tmp_path) == {'a': JPEG}
  assert journal(tmp_path)['a']['status'] == 'done'


@pytest.mark.parametrize('url', [
    'ftp://127.0.0.1/a', 'file:///etc/a', 'http://127.0.0.1:port/a',
    'http:///a', 'http://[/a', f'http://{"x" * 99}.example/a'])
def test_addresses_that_are_none(tmp_path, url):
  fetch(tmp_path, url)
  assert failure_of(tmp_path, 'a')[1] is False


def test_redirections_are_followed_without_their_bodies(server, tmp_path):
  endless = itertools.repeat(b'x' * 999)
  server.answers = {'a': [(301, {'Location': '/b?c=d'}, endless)],
                    'b?c=d': ok(JPEG)}
  fetch(tmp_path, server.url('a'))
  assert files(tmp_path) == {'a': JPEG}
  assert server.requests == ['a', 'b?c=d']


@pytest.fixture
def proxy(server, monkeypatch):
  """The server, which now answers for all others, too, by whole address."""
  for name in ('no_proxy', 'NO_PROXY'):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv('http_proxy', server.url(''))
  return server


@pytest.mark.parametrize('internal', [
    'http://127.0.0.1/b', 'http://localhost/b', 'http://[::1]:80/b',
    'http://169.254.169.254/latest/meta-data', 'http://10.1.2.3/b',
    # Two of which a plain parser finds another host, or none.
    'http://127.0.0.1\\@8.8.4.4/b', 'http://%31%32%37.0.0.1/b'])
def test_nobody_redirects_from_outside_to_inside(proxy, tmp_path, internal):
  proxy.answers = {
      'http://8.8.8.8/a': [(302, {'Location': 'http://8.8.4.4/c'}, b'')],
      'http://8.8.4.4/c': [(302, {'Location': internal}, b'')]}
  fetch(tmp_path, 'http://8.8.8.8/a')
  said, passing = failure_of(tmp_path, 'a')
  assert said == (
      f'redirected to {internal}, which is not on the public internet')
  assert not passing
  assert proxy.requests == ['http://8.8.8.8/a', 'http://8.8.4.4/c']


def test_redirections_inside_and_outside_are_followed(proxy, tmp_path):
  routes = {'http://8.8.8.8/a': 'http://8.8.4.4/', 'http://10.0.0.1/b':
            'http://10.0.0.2/'}
  for start, end in routes.items():
    proxy.answers[start] = [(302, {'Location': end}, b'')]
    proxy.answers[end] = ok(JPEG)
  fetch(tmp_path, *routes)
  assert files(tmp_path) == {'a': JPEG, 'b': JPEG}


def test_nobody_is_told_the_users_passwords(server, tmp_path, monkeypatch):
  netrc = tmp_path / 'netrc'
  netrc.write_text('machine 127.0.0.1 login user password secret\n')
  monkeypatch.setenv('NETRC', str(netrc))
  assert requests.utils.get_netrc_auth(server.url('a')) == ('user', 'secret')
  server.answers = {'a': [(302, {'Location': '/b'}, b'')], 'b': ok(JPEG)}
  fetch(tmp_path, server.url('a'))
  assert journal(tmp_path)['a']['status'] == 'done'
  assert server.passwords == [None, None]


def test_a_trickling_server_is_left(server, tmp_path):
  # 50 bytes a second or so: no silence, but no end either.
  def trickle():
    for byte in itertools.cycle(JPEG):
      yield bytes([byte])
      time.sleep(0.02)

  server.answers['a'] = [(200, {'Content-Length': '4999'}, trickle())]
  fetch(tmp_path, server.url('a'), limits=QUICK._replace(total_secs=0.2))
  assert failure_of(tmp_path, 'a') == ('takes more than 0.2 s', True)


def test_a_silent_server_is_left(server, tmp_path):
  server.stall.clear()
  server.answers['a'] = [(200, {'Content-Length': '4999'}, JPEG)]
  fetch(tmp_path, server.url('a'),
        limits=QUICK._replace(timeout_secs=0.1, retries=1))
  assert failure_of(tmp_path, 'a') == ('timed out', True)
  for _ in range(1000):  # Its threads may lag behind.
    if len(server.requests) == 2:
      break
    time.sleep(0.01)
  assert len(server.requests) == 2


def test_nobody_answers(tmp_path):
  with socket.socket() as unheard:  # Bound, so nobody else listens there.
    unheard.bind(('127.0.0.1', 0))
    fetch(tmp_path, f'http://127.0.0.1:{unheard.getsockname()[1]}/a')
  reason, passing = failure_of(tmp_path, 'a')
  assert 'refused' in reason and passing


def test_goes_on_from_a_journal_that_was_cut_off(server, tmp_path):
  server.answers['c'] = ok(JPEG)
  urls = [server.url(name) for name in ('a', 'b', 'c')]
  for url in urls:
    fetch(tmp_path, url)
  path = tmp_path / 'fetch.jsonl'
  lines = path.read_bytes().splitlines(keepends=True)
  path.write_bytes(lines[0] + lines[1][:-9])
  server.requests.clear()
  fetch(tmp_path, *urls[:2])
  assert server.requests == ['b']
  assert path.read_bytes() == lines[0] + lines[1]


@pytest.mark.parametrize('line', [
    b'{"url": "http://x/\n', b'[]\n', b'{}\n', b'\xff\n', b'1\n',
    b'{"url": 3, "status": "done"}\n',
    b'{"url": "http://x/", "status": "failed"}\n'])
def test_a_damaged_journal_is_named(tmp_path, line):
  (tmp_path / 'fetch.jsonl').write_bytes(
      b'{"url": "http://x/", "status": "done"}\n' + line)
  with pytest.raises(ValueError, match=r'fetch\.jsonl:2: no line of a journ'):
    fetch(tmp_path)


def test_one_process_at_a_time(tmp_path):
  with open(tmp_path / 'fetch.jsonl', 'wb') as f:
    fcntl.flock(f, fcntl.LOCK_EX)
    with pytest.raises(OSError, match=r'fetch\.jsonl: another process'):
      fetch(tmp_path)


def test_only_a_few_images_are_read_ahead(server, tmp_path):
  read = []

  def endless():
    for i in itertools.count():
      read.append(i)
      yield RemoteImage(server.url(str(i)), str(tmp_path / str(i)))

  # What cannot be written ends the work.
  server.answers = {str(i): ok(JPEG) for i in range(99)}
  (tmp_path / '1').mkdir()
  with pytest.raises(OSError):
    image_fetcher.fetch(endless(), str(tmp_path), QUICK, 2, False)
  assert len(read) < 9


# The command line.


def command(tmp_path, *more):
  return ('data_prep.build_conceptual_captions_data',
          f'--image_dir={tmp_path / "images"}',
          f'--output_dir={tmp_path / "out"}', '--train_shards=2',
          '--val_shards=1', '--num_threads=1', *more)


def write_captions(tmp_path, server, **splits):
  flags = []
  for split, names in splits.items():
    path = tmp_path / f'{split}.tsv'
    path.write_text(''.join(
        f'a dog called {name}\t{server.url(name)}\n' for name in names))
    flags.append(f'--{split}_captions_file={path}')
  return flags


@pytest.mark.long
def test_shards_of_fetched_images(server, tmp_path, launch):
  server.answers = {name: ok(drawn(kind)) for name, kind in (
      ('a', 'JPEG'), ('b', 'PNG'), ('c', 'WEBP'), ('d', 'GIF'))}
  server.answers['y'] = [(503, {}, b'')]
  full = command(
      tmp_path, *write_captions(tmp_path, server, train='abcxay', val='dcx'),
      '--fetch', '--fetch_retries=0')
  done = launch(*full)
  assert done.returncode == 0, done.stderr
  assert 'fetched 4 images; 1 cannot be had, 1 not now' in done.stderr
  assert 'train: 4 captions of 3 images; left out: 2 rows' in done.stderr
  assert 'val: 1 captions of 1 images; left out: 1 rows' in done.stderr
  assert '4 images: 0 bad' in done.stderr
  assert 'train: 3 images, 4 image-caption pairs in 2 shards' in done.stderr
  assert sorted(server.requests) == list('abcdxy')
  names = {conceptual_captions.image_name(server.url(name))
           for name in 'abcd'}
  assert set(files(tmp_path / 'images')) == names

  # Cut short and begun again it stays the build that it is.
  shard = tmp_path / 'out' / 'train-00001-of-00002'
  content = shard.read_bytes()
  shard.unlink()
  server.answers['y'] = ok(JPEG)
  again = launch(*full)
  assert again.returncode == 0, again.stderr
  assert 'fetching nothing: ' in again.stderr
  assert 'give another --output_dir' in again.stderr
  assert shard.read_bytes() == content
  assert len(server.requests) == 6


def test_nothing_is_fetched_unasked(server, tmp_path, launch):
  (tmp_path / 'images').mkdir()
  server.answers['a'] = ok(JPEG)
  flags = write_captions(tmp_path, server, train='a')
  done = launch(*command(tmp_path, *flags))
  assert done.returncode == 1
  assert 'train.tsv: none of its 1 rows is left: 1 rows have no image in' in (
      done.error)
  assert not server.requests and not (tmp_path / 'out').exists()


def test_a_broken_line_is_found_before_anything_is_fetched(
    server, tmp_path, launch):
  flags = write_captions(tmp_path, server, train='ab', val='c')
  (tmp_path / 'val.tsv').write_text('a dog\n')
  done = launch(*command(tmp_path, *flags, '--fetch'))
  assert done.returncode == 1
  assert 'val.tsv:1: not of the form' in done.error
  assert not server.requests


@pytest.mark.parametrize(('flags', 'message'), [
    (['--fetch'], 'give --train_captions_file, --val_captions_file or both'),
    (['--train_captions_file=x', '--retry_failed'], 'needs --fetch'),
    (['--train_captions_file=x'], 'images: no such folder'),
    (['--train_captions_file=x', '--fetch', '--max_photo_bytes=0'],
     '--max_photo_bytes'),
])
def test_mistakes(tmp_path, launch, flags, message):
  done = launch(*command(tmp_path, *flags))
  assert done.returncode in (1, 2)
  assert message in done.error
  assert not (tmp_path / 'images').exists()


def test_an_interrupted_fetch_goes_on(server, tmp_path, start, launch):
  server.stall.clear()
  waiting = threading.Event()

  def half():
    waiting.set()
    yield JPEG[:50]
    yield JPEG[50:]

  server.answers = {
      'a': [(404, {}, b'')],
      'b': [(200, {'Content-Length': str(len(JPEG))}, half()), *ok(JPEG)],
      'c': ok(JPEG)}
  flags = write_captions(tmp_path, server, train='abc')
  running = start(*command(tmp_path, *flags, '--fetch', '--fetch_threads=1'))
  assert waiting.wait(60)
  while not journal(tmp_path / 'images'):
    time.sleep(0.01)
  running.send(signal.SIGINT)
  stopped = running.finish()
  assert stopped.returncode == 130
  assert stopped.error == 'build_conceptual_captions_data: error: interrupted'
  assert list(journal(tmp_path / 'images')) == ['a']
  assert not files(tmp_path / 'images')
  server.stall.set()

  done = launch(*command(tmp_path, *flags, '--fetch'))
  assert 'fetched 2 images; 0 cannot be had' in done.stderr
  assert done.returncode == 0
  assert sorted(server.requests) == ['a', 'b', 'b', 'c']
  assert set(files(tmp_path / 'images').values()) == {JPEG}
