"""Failed downloads: which failures may pass, and how long to wait.

`urllib3.util.Retry` counts the retries and reads Retry-After. It is not mounted
on a session: there it does not see a streamed body that breaks off, cannot
resume a body by range, and would ask for an unknown host name again.
"""

import requests
import urllib3
from urllib3.util import Retry

# What requests and urllib3 raise when a connection fails.
CONNECTION_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError)

# Too slow, too early, too busy, or a failure of the server; some servers have
# numbers beyond the standard's. A request refused otherwise is not repeated.
_TEMPORARY_STATUSES = frozenset((408, 425, 429, *range(500, 1000)))


def check_status(response: requests.Response) -> None:
  """Raise requests.HTTPError if the server may well answer later."""
  if response.status_code in _TEMPORARY_STATUSES:
    raise requests.HTTPError(
        f'{response.status_code} {response.reason}', response=response)


def retry_after_secs(retry: Retry, error: Exception) -> float | None:
  """Return the seconds that the server asks to wait; None: it does not say."""
  response = getattr(error, 'response', None)
  if response is None:
    return None
  try:
    return retry.get_retry_after(response.raw)
  except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
    return None


def wait_secs(retry: Retry, error: Exception) -> float:
  """Return how long to wait before the next try.

  Args:
    retry: has the failures so far, without this one. Its backoff factor is
      the wait after the first one; it is doubled after each next one.
    error: the failure; the Retry-After of its response counts instead.

  Returns:
    Seconds.
  """
  after = retry_after_secs(retry, error)
  if after is not None:
    return after
  return min(retry.backoff_max, retry.backoff_factor * 2.0**len(retry.history))


def root_cause(error: BaseException) -> BaseException:
  """Return the socket's own error, which others have wrapped."""
  while error.__context__:
    error = error.__context__
  return error
