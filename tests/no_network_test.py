"""The tests use no network, and neither do the commands that they start."""

import socket

import pytest
from no_network import NetworkUsed

ELSEWHERE = '192.0.2.1'  # Of no machine, RFC 5737.


def test_another_machine_is_refused():
  with socket.socket() as s, pytest.raises(NetworkUsed):
    s.connect((ELSEWHERE, 80))
  with socket.socket(type=socket.SOCK_DGRAM) as s, pytest.raises(NetworkUsed):
    s.sendto(b'', (ELSEWHERE, 53))
  with socket.socket(type=socket.SOCK_DGRAM) as s, pytest.raises(NetworkUsed):
    s.sendmsg([b''], (), 0, (ELSEWHERE, 53))


@pytest.mark.parametrize('name', ['example.invalid', b'example.invalid'])
def test_a_name_is_not_looked_up(name):
  with pytest.raises(NetworkUsed):
    socket.getaddrinfo(name, 80)
  with pytest.raises(NetworkUsed):
    socket.gethostbyname(name)


def test_nobody_is_asked_for_the_name_of_an_address():
  with pytest.raises(NetworkUsed):
    socket.gethostbyaddr(ELSEWHERE)
  with pytest.raises(NetworkUsed):
    socket.getnameinfo((ELSEWHERE, 80), 0)


@pytest.mark.parametrize('host', ['127.0.0.1', 'localhost'])
def test_this_machine_answers(host):
  with (socket.create_server(('127.0.0.1', 0)) as server,
        socket.create_connection((host, server.getsockname()[1]))):
    connection, _ = server.accept()
    connection.close()


def test_addresses_are_not_names():
  for host in (ELSEWHERE, '2001:db8::1', None):
    assert socket.getaddrinfo(host, 80)


def test_commands_are_refused_too(launch, tmp_path):
  finished = launch(
      'data_prep.download', 'inception_v3', f'--output_dir={tmp_path}',
      '--url=inception_v3_2016_08_28.tar.gz=http://example.invalid/v3.tar.gz')
  assert finished.returncode == 1
  assert finished.lines[-1] == (
      'no_network.NetworkUsed: socket.getaddrinfo example.invalid')
