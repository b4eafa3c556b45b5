"""The downloader against a server on this machine that misbehaves to order."""

import ast
import gzip
import hashlib
import http.server
import io
import json
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zipfile

import pytest

from data_prep import download

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
INCEPTION = 'inception_v3_2016_08_28.tar.gz'
RESNET = 'resnet_v1_152_2016_08_28.tar.gz'
WEIGHTS = b'weights' * 30_000


def zip_of(members):
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w') as archive:
    for name, content in members.items():
      archive.writestr(name, content)
  return buffer.getvalue()


def tar_of(*members):
  """A tar.gz of (TarInfo fields, content) pairs."""
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode='w:gz') as archive:
    for fields, content in members:
      member = tarfile.TarInfo()
      for field, value in fields.items():
        setattr(member, field, value)
      member.size = len(content)
      archive.addfile(member, io.BytesIO(content))
  return buffer.getvalue()


CHECKPOINT = tar_of(({'name': 'inception_v3.ckpt'}, WEIGHTS))


class Server(http.server.ThreadingHTTPServer):
  """Serve `files`, with the faults that its other attributes ask for."""

  def __init__(self):
    super().__init__(('127.0.0.1', 0), Handler)
    self.files = {}
    self.etag = '"one"'
    self.break_after = []  # Body bytes before breaking off, one an answer.
    self.stall = threading.Event()  # Cleared: connections stay open.
    self.stall.set()
    self.statuses = []  # Answered instead of the file, one an answer.
    self.retry_after = None  # The header of such answers.
    self.knows_range = self.knows_if_range = self.tells_length = True
    self.requests = []  # (path, Range header or None).

  def url(self, name):
    return f'http://127.0.0.1:{self.server_port}/{name}'


class Handler(http.server.BaseHTTPRequestHandler):

  def do_GET(self):
    server, wanted = self.server, self.headers['Range']
    server.requests.append((self.path[1:], wanted))
    content = server.files.get(self.path[1:])
    status = server.statuses.pop(0) if server.statuses else 200
    if content is None or status != 200:
      return self.refuse(404 if content is None else status)
    start = 0
    current = self.headers['If-Range'] == server.etag
    if wanted and server.knows_range and (
        current or not server.knows_if_range):
      start = int(wanted.removeprefix('bytes=').removesuffix('-'))
      self.send_response(206)
      self.send_header('Content-Range',
                       f'bytes {start}-{len(content) - 1}/{len(content)}')
    else:
      self.send_response(200)
    if server.etag:
      self.send_header('ETag', server.etag)
    if server.tells_length:
      self.send_header('Content-Length', str(len(content) - start))
    self.end_headers()
    body = content[start:]
    if server.break_after:
      body = body[:server.break_after.pop(0)]
    self.wfile.write(body)
    server.stall.wait()

  def refuse(self, status):
    self.send_response(status)
    if self.server.retry_after:
      self.send_header('Retry-After', self.server.retry_after)
    self.end_headers()

  def log_message(self, *args):
    pass


@pytest.fixture
def server():
  with Server() as server:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()


def command_line(*args):
  return [sys.executable, '-m', 'data_prep.download', *map(str, args)]


def run(*args):
  return subprocess.run(command_line(*args), cwd=ROOT, capture_output=True,
                        text=True, check=False)


def archive_of(server, content, name='archive', **known):
  server.files[name] = content
  return download.Archive(name, server.url(name), **known)


def contents(folder):
  """The files under a folder, by path from it."""
  return {str(path.relative_to(folder)): path.read_bytes()
          for path in folder.rglob('*') if path.is_file()}


# The command line.


def test_fetches_then_skips(server, tmp_path):
  server.files['a'] = CHECKPOINT
  server.files['b'] = tar_of(({'name': 'resnet_v1_152.ckpt'}, b'more'))
  command = ('inception_v3', 'resnet_v1_152', '--output_dir', tmp_path,
             f'--url={INCEPTION}={server.url("a")}',
             f'--url={RESNET}={server.url("b")}')
  result = run(*command)
  assert (result.returncode, result.stderr) == (0, '')
  assert contents(tmp_path) == {
      'inception_v3/inception_v3.ckpt': WEIGHTS,
      'resnet_v1_152/resnet_v1_152.ckpt': b'more'}

  again = run(*command)
  assert again.returncode == 0
  assert again.stdout.count('is already there') == 2
  assert server.requests == [('a', None), ('b', None)]


def test_a_refusal_is_one_line_and_not_repeated(server, tmp_path):
  url = server.url('gone.tar.gz')
  result = run('inception_v3', '--output_dir', tmp_path,
               f'--url={INCEPTION}={url}')
  assert result.returncode != 0
  assert result.stderr.count('\n') == 1
  assert f'{url} answered 404 ' in result.stderr
  assert f'--url {INCEPTION}=ADDRESS' in result.stderr
  assert len(server.requests) == 1
  assert contents(tmp_path) == {}


def test_a_wrong_checksum_is_one_line_and_leaves_nothing(server, tmp_path):
  server.files['text'] = zip_of({'Flickr8k.token.txt': 'altered'})
  result = run('flickr8k-text', '--output_dir', tmp_path,
               f'--url=Flickr8k_text.zip={server.url("text")}')
  assert result.returncode != 0
  assert result.stderr.count('\n') == 1
  assert 'md5' in result.stderr and server.url('text') in result.stderr
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('args, words', [
    (['coco2015'], ["'coco2015'", 'coco2014, coco2017']),
    ([], ['name one or more']),
    (['inception_v3', '--url=inception=http://x/'],
     ["no archive 'inception'", INCEPTION]),
    (['inception_v3', f'--url={INCEPTION}'], [f"--url {INCEPTION}: ''"]),
    (['inception_v3', f'--url={INCEPTION}=file:///etc/passwd'],
     ["'file:///etc/passwd'"]),
    (['inception_v3', f'--url={INCEPTION}=http://127.0.0.1:port/x'],
     ['127.0.0.1:port']),
])
def test_a_wrong_command_line_is_one_line(args, words, tmp_path):
  result = run(*args, '--output_dir', tmp_path / 'never')
  assert result.returncode != 0
  assert result.stderr.count('\n') == 1
  for word in words:
    assert word in result.stderr


# Breaks.


def test_goes_on_by_range_after_a_break(server, tmp_path):
  archive = archive_of(server, CHECKPOINT)
  server.break_after = [100, 50]
  part = tmp_path / 'part'
  download.download(archive, part, wait_secs=0)
  assert part.read_bytes() == CHECKPOINT
  assert [wanted for _, wanted in server.requests] == [
      None, 'bytes=100-', 'bytes=150-']


def test_an_interrupted_command_goes_on(server, tmp_path):
  weights = random.Random(0).randbytes(1 << 20)  # Several reads.
  server.files['a'] = tar_of(({'name': 'inception_v3.ckpt'}, weights))
  server.break_after = [600_000]
  server.stall.clear()
  command = ('inception_v3', '--output_dir', tmp_path,
             f'--url={INCEPTION}={server.url("a")}')
  part = tmp_path / f'{INCEPTION}.part'
  with subprocess.Popen(command_line(*command), cwd=ROOT, text=True,
                        stderr=subprocess.PIPE) as process:
    while not (part.exists() and part.stat().st_size):
      assert process.poll() is None
      time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    server.stall.set()
    assert 'interrupted' in process.stderr.read()
  assert process.returncode != 0
  start = part.stat().st_size
  assert not (tmp_path / 'inception_v3').exists()

  result = run(*command)
  assert (result.returncode, result.stderr) == (0, '')
  assert server.requests[1:] == [('a', f'bytes={start}-')]
  assert contents(tmp_path) == {'inception_v3/inception_v3.ckpt': weights}


def test_a_later_run_goes_on_too(server, tmp_path):
  archive = archive_of(server, CHECKPOINT, 'archive')
  server.break_after = [100]
  with pytest.raises(OSError, match='start again to go on, .*--url archive='):
    download.download(archive, tmp_path / 'archive.part', retries=0)
  assert not (tmp_path / 'weights').exists()
  download.fetch(archive, tmp_path / 'weights')
  assert contents(tmp_path) == {'weights/inception_v3.ckpt': WEIGHTS}
  assert server.requests[1:] == [('archive', 'bytes=100-')]


def test_starts_again_where_the_server_ignores_range(server, tmp_path):
  archive = archive_of(server, CHECKPOINT)
  server.knows_range = False
  server.break_after = [100]
  download.download(archive, tmp_path / 'part', wait_secs=0)
  assert (tmp_path / 'part').read_bytes() == CHECKPOINT
  assert server.requests[1] == ('archive', 'bytes=100-')


@pytest.mark.parametrize('knows_if_range', [True, False])
def test_starts_again_where_the_file_has_changed(
    knows_if_range, server, tmp_path):
  old, new = b'a' * 300, b'b' * 300  # As long, so that only the ETag tells.
  archive = archive_of(server, old)
  server.knows_if_range = knows_if_range
  server.break_after = [100]
  with pytest.raises(OSError, match='go on'):
    download.download(archive, tmp_path / 'part', retries=0)
  server.files['archive'], server.etag = new, '"two"'
  download.download(archive, tmp_path / 'part', wait_secs=0)
  assert (tmp_path / 'part').read_bytes() == new


@pytest.mark.parametrize('etag', [None, 'W/"weak"'])
def test_starts_again_where_no_header_tells_a_change(etag, server, tmp_path):
  archive = archive_of(server, CHECKPOINT)
  server.etag, server.break_after = etag, [100]
  download.download(archive, tmp_path / 'part', wait_secs=0)
  assert (tmp_path / 'part').read_bytes() == CHECKPOINT
  assert [wanted for _, wanted in server.requests] == [None, None]


def test_starts_again_at_another_address(server, tmp_path):
  archive = archive_of(server, CHECKPOINT)
  server.break_after = [100]
  with pytest.raises(OSError, match='go on'):
    download.download(archive, tmp_path / 'part', retries=0)
  mirror = archive_of(server, CHECKPOINT[::-1], 'mirror')
  download.download(mirror, tmp_path / 'part')
  assert (tmp_path / 'part').read_bytes() == CHECKPOINT[::-1]
  assert server.requests[1] == ('mirror', None)


def test_a_start_longer_than_the_file_is_thrown_away(server, tmp_path):
  archive = archive_of(server, CHECKPOINT)
  server.statuses = [416]
  (tmp_path / 'part').write_bytes(b'x' * (len(CHECKPOINT) + 1))
  (tmp_path / 'part.json').write_text(json.dumps(
      {'url': archive.url, 'version': server.etag, 'size': len(CHECKPOINT)}))
  download.download(archive, tmp_path / 'part', wait_secs=0)
  assert (tmp_path / 'part').read_bytes() == CHECKPOINT


def test_asks_a_busy_server_again(server, tmp_path):
  archive = archive_of(server, CHECKPOINT)
  server.statuses = [503, 429, 522]  # The last is Cloudflare's own.
  download.download(archive, tmp_path / 'part', wait_secs=0)
  assert (tmp_path / 'part').read_bytes() == CHECKPOINT


def test_a_busy_server_says_when_to_ask_again(server, tmp_path):
  archive = archive_of(server, CHECKPOINT)
  server.statuses, server.retry_after = [503], '1'
  started = time.monotonic()
  download.download(archive, tmp_path / 'part', wait_secs=0)
  assert (tmp_path / 'part').read_bytes() == CHECKPOINT
  assert time.monotonic() - started >= 1


def test_a_server_that_is_busy_for_long_is_left(server, tmp_path):
  archive = archive_of(server, CHECKPOINT)
  server.statuses, server.retry_after = [503], '601'
  with pytest.raises(OSError, match='503 .*; start again to go on'):
    download.download(archive, tmp_path / 'part', wait_secs=0)
  assert len(server.requests) == 1


def test_gives_up_on_a_server_that_never_gets_further(server, tmp_path):
  archive = archive_of(server, CHECKPOINT)
  server.knows_range = False
  server.break_after = [100] * 20
  with pytest.raises(OSError, match='go on'):
    download.download(archive, tmp_path / 'part', retries=2, wait_secs=0)
  assert len(server.requests) == 3  # One that got somewhere, two that not.


def test_says_why_no_server_answers(tmp_path):
  with socket.socket() as unheard:  # Bound, so nobody else listens there.
    unheard.bind(('127.0.0.1', 0))
    url = f'http://127.0.0.1:{unheard.getsockname()[1]}/x'
    with pytest.raises(OSError, match=f'{url}: .*refused'):
      download.download(download.Archive('x', url), tmp_path / 'part',
                        retries=1, wait_secs=0)


# What is downloaded.


def test_coco_archives_share_a_folder(server, tmp_path):
  train = zip_of({'train2014/': '', 'train2014/a.jpg': 'a'})
  notes = zip_of({'annotations/captions.json': '{}'})
  folder = tmp_path / 'new' / 'coco2014'
  for name, root, content in (('train2014.zip', 'train2014', train),
                              ('notes.zip', 'annotations', notes)):
    sha256 = hashlib.sha256(content).hexdigest()
    download.fetch(
        archive_of(server, content, name, root=root, size=len(content),
                   checksum=f'sha256:{sha256}'), folder)
  assert contents(tmp_path) == {
      'new/coco2014/train2014/a.jpg': b'a',
      'new/coco2014/annotations/captions.json': b'{}'}


def test_a_wrong_size_is_refused_before_the_download(server, tmp_path):
  archive = archive_of(server, CHECKPOINT, size=13510573713)
  with pytest.raises(ValueError, match=f'^{archive.url} has {len(CHECKPOINT)} '
                     'bytes, not .* 13510573713; .*--url archive=ADDRESS'):
    download.fetch(archive, tmp_path / 'weights')
  assert contents(tmp_path) == {}


def test_a_wrong_size_untold_is_refused_after_it(server, tmp_path):
  archive = archive_of(server, CHECKPOINT, size=len(CHECKPOINT) + 1)
  server.tells_length = False
  with pytest.raises(ValueError, match='bytes, not'):
    download.fetch(archive, tmp_path / 'weights')
  assert contents(tmp_path) == {}


def test_a_right_size_and_wrong_checksum_is_refused(server, tmp_path):
  archive = archive_of(server, CHECKPOINT, size=len(CHECKPOINT),
                       checksum='sha256:' + '0' * 64)
  with pytest.raises(ValueError, match='sha256.*--url archive=ADDRESS'):
    download.fetch(archive, tmp_path / 'weights')
  assert contents(tmp_path) == {}


def test_a_full_disk_is_said_first(server, tmp_path, monkeypatch):
  archive = archive_of(server, CHECKPOINT)
  usage = download.shutil.disk_usage(tmp_path)._replace(
      free=2 * len(CHECKPOINT) - 1)
  monkeypatch.setattr(download.shutil, 'disk_usage', lambda _: usage)
  with pytest.raises(OSError, match='--output_dir .* GB free'):
    download.fetch(archive, tmp_path / 'weights')
  assert contents(tmp_path) == {}


# Unpacking.


def link(kind, target):
  return ({'name': 'link', 'type': kind, 'linkname': target}, b'')


@pytest.mark.parametrize('content', [
    lambda outside: zip_of({'good': 'g', '../evil': 'e'}),
    lambda outside: zip_of({'deep/../../evil': 'e'}),
    lambda outside: zip_of({f'{outside}/evil': 'e'}),
    lambda outside: tar_of(({'name': '../evil'}, b'e')),
    lambda outside: tar_of(({'name': f'{outside}/evil'}, b'e')),
    lambda outside: tar_of(link(tarfile.SYMTYPE, '..'),
                           ({'name': 'link/evil'}, b'e')),
    lambda outside: tar_of(link(tarfile.SYMTYPE, f'{outside}/existing'),
                           ({'name': 'link'}, b'e')),
    lambda outside: tar_of(link(tarfile.LNKTYPE, '../existing'),
                           ({'name': 'link'}, b'e')),
    lambda outside: tar_of(({'name': 'null', 'type': tarfile.CHRTYPE}, b'')),
    lambda outside: tar_of(({'name': 'pipe', 'type': tarfile.FIFOTYPE}, b'')),
], ids=['zip ..', 'zip deep ..', 'zip absolute', 'tar ..', 'tar absolute',
        'symlink up', 'symlink to file', 'hard link', 'device', 'pipe'])
def test_nothing_leaves_the_folder(content, server, tmp_path):
  existing = tmp_path / 'existing'
  existing.write_bytes(b'mine')
  archive = archive_of(server, content(tmp_path))
  with pytest.raises(ValueError, match='leads out|link or a device'):
    download.fetch(archive, tmp_path / 'set')
  assert contents(tmp_path) == {'existing': b'mine'}
  assert list(tmp_path.iterdir()) == [existing]


@pytest.mark.parametrize('content', [
    b'<html>Log in to use this network</html>',
    CHECKPOINT[:len(CHECKPOINT) // 2],
    CHECKPOINT[:-8] + bytes(8),  # gzip's checksum.
    gzip.compress(b'not a tar file'),
    zip_of({'a': 'stored, so easily altered'}).replace(b'easily', b'EASILY'),
    b'',
], ids=['page', 'half', 'crc', 'no tar', 'altered zip', 'empty'])
def test_a_broken_archive_is_said_and_deleted(content, server, tmp_path):
  archive = archive_of(server, content)
  with pytest.raises(ValueError, match='whole zip or tar.gz.*--url archive='):
    download.fetch(archive, tmp_path / 'set')
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('content, root', [
    (zip_of({'val2014/a': 'a'}), 'train2014'), (zip_of({}), ''), (tar_of(), '')
], ids=['other folder', 'empty zip', 'empty tar'])
def test_what_is_wanted_must_be_there(content, root, server, tmp_path):
  archive = archive_of(server, content, root=root)
  with pytest.raises(ValueError, match=f"nothing in it under './{root}'"):
    download.fetch(archive, tmp_path / 'coco2014')
  assert contents(tmp_path) == {}


def test_a_killed_unpack_is_done_again_without_a_download(server, tmp_path):
  archive = archive_of(server, CHECKPOINT)
  download.download(archive, tmp_path / 'archive.part')
  half = tmp_path / 'archive.unpacking'
  half.mkdir()
  (half / 'leftover').write_text('half')
  download.fetch(archive, tmp_path / 'weights')
  assert contents(tmp_path) == {'weights/inception_v3.ckpt': WEIGHTS}
  assert len(server.requests) == 1


# The table, and the promise.


def test_the_table_is_sound():
  archives = [a for dataset in download.DATASETS.values() for a in dataset]
  assert len({archive.name for archive in archives}) == len(archives)
  for archive in archives:
    assert archive.url.endswith('/' + archive.name)
    if archive.checksum:
      algorithm, digits = archive.checksum.split(':')
      assert len(bytes.fromhex(digits)) == hashlib.new(algorithm).digest_size
  assert [archive.root for archive in download.DATASETS['coco2017']] == [
      'train2017', 'val2017', 'annotations']


def test_little_uses_a_network():
  clients = {'requests', 'urllib3', 'urllib.request', 'http.client', 'ftplib',
             'httpx', 'aiohttp'}
  users = set()
  for folder in ('data_prep', 'im2txt', 'configs'):
    for path in (ROOT / folder).rglob('*.py'):
      for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
          imported = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
          imported = {node.module} | {
              f'{node.module}.{alias.name}' for alias in node.names}
        else:
          continue
        if imported & clients:
          users.add(path.name)
  assert users == {'connections.py', 'download.py', 'image_fetcher.py'}
