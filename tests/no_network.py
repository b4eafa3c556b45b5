"""Keep a process, and what is forked from it, off the network.

A test that asks another machine for something would pass or fail with that
machine, and show that a command does what nobody told it to. Only Python's
sockets are seen here: those of native code, and of programs that are started
afresh, have no network in `make test-offline`.
"""

import ipaddress
import sys
from typing import Any


class NetworkUsed(BaseException):  # Or `except Exception` would hide it.
  """Something wanted to talk to another machine."""


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
  """Raise NetworkUsed where an audit event is of another machine."""
  if event in ('socket.connect', 'socket.sendto', 'socket.sendmsg'):
    address = arguments[1]
    if isinstance(address, tuple) and not _is_here(address[0]):
      raise NetworkUsed(f'{event} {address}')
  elif event in ('socket.getaddrinfo', 'socket.gethostbyname'):
    host = arguments[0]
    # Nobody is asked for the address of an address.
    if host is not None and not (_is_here(host) or _parse(host)):
      raise NetworkUsed(f'{event} {host}')
  elif event in ('socket.gethostbyaddr', 'socket.getnameinfo'):
    [host] = arguments
    host = host[0] if isinstance(host, tuple) else host
    if not _is_here(host):
      raise NetworkUsed(f'{event} {host}')


def _is_here(host: str | bytes) -> bool:
  address = _parse(host)
  return address.is_loopback if address else host in ('localhost', b'localhost')


def _parse(
    host: str | bytes
) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
  try:
    return ipaddress.ip_address(
        host.decode() if isinstance(host, bytes) else host)
  except ValueError:
    return None


sys.addaudithook(_refuse)
