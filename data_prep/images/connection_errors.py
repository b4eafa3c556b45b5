"""What may go wrong with a connection, and what of it passes."""

import requests
import urllib3

BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError)


def is_passing(status: int) -> bool:
  """Whether a server with that HTTP status may well answer later."""
  # Too slow or too early, too busy, or ill, which has numbers beyond the
  # standard's; any other refusal would be repeated.
  return status in (408, 425, 429) or status >= 500


def reason(error: BaseException) -> BaseException:
  """The socket's own words, which others have wrapped."""
  while error.__context__:
    error = error.__context__
  return error
