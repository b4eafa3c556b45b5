"""How long a failed download waits, and which answers are worth it."""

import email.utils
import time

import pytest
import requests
import urllib3
from urllib3.util import Retry

from data_prep.images import connections


def response(status, **headers):
  answer = requests.Response()
  answer.status_code = status
  answer.reason = 'Reason'
  answer.raw = urllib3.HTTPResponse(headers={
      name.replace('_', '-'): value for name, value in headers.items()})
  return answer


def refusal(**headers):
  return requests.HTTPError('503', response=response(503, **headers))


def test_waits_double_up_to_a_limit():
  retry = Retry(5, backoff_factor=1.5, backoff_max=7)
  waits = []
  for _ in range(4):
    waits.append(connections.wait_secs(retry, refusal()))
    retry = retry.increment('GET', 'http://x/', error=refusal())
  assert waits == [1.5, 3, 6, 7]
  assert retry.total == 1


def test_retry_after_counts_instead():
  retry = Retry(5, backoff_factor=1.5)
  assert connections.wait_secs(retry, refusal(Retry_After='17')) == 17
  assert connections.wait_secs(retry, refusal(Retry_After='0')) == 0
  date = email.utils.formatdate(time.time() + 100, usegmt=True)
  assert 90 < connections.wait_secs(retry, refusal(Retry_After=date)) <= 100


@pytest.mark.parametrize('value', [
    'soon', '', '-3', '9' * 5000, 'Mon, 99 Feb 99999999 00:00:00 GMT'])
def test_a_senseless_retry_after_does_not_count(value):
  wait = connections.wait_secs(
      Retry(5, backoff_factor=1.5), refusal(Retry_After=value))
  assert wait == 1.5


def test_an_error_without_a_response_waits_too():
  retry = Retry(5, backoff_factor=1.5)
  assert connections.wait_secs(retry, requests.ConnectionError('x')) == 1.5
  assert connections.wait_secs(
      retry, urllib3.exceptions.ProtocolError('x')) == 1.5


@pytest.mark.parametrize('status', [408, 425, 429, 500, 503, 527, 999])
def test_statuses_that_may_pass(status):
  with pytest.raises(requests.HTTPError, match=f'{status} Reason') as caught:
    connections.check_status(response(status, Retry_After='5'))
  assert connections.wait_secs(Retry(1), caught.value) == 5


@pytest.mark.parametrize('status', [200, 206, 302, 400, 403, 404, 410, 416])
def test_statuses_that_stay(status):
  connections.check_status(response(status))


def test_the_root_cause_is_the_first_error():
  with pytest.raises(ValueError) as caught:
    try:
      raise OSError('refused')
    except OSError as error:
      raise ValueError('wrapped') from error
  assert str(connections.root_cause(caught.value)) == 'refused'
