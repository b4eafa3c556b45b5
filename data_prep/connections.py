"""What may go wrong with a connection, and what of it passes."""

import requests
import urllib3

# Too busy or too slow just now; any other refusal would be repeated.
PASSING_STATUSES = (408, 429, 500, 502, 503, 504)
BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError)


def reason(error: BaseException) -> BaseException:
  """The socket's own words, which others have wrapped."""
  while error.__context__:
    error = error.__context__
  return error
