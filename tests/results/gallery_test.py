"""The gallery, read as a browser would: its structure, text and addresses."""

import base64
import math
import os
import re
import tracemalloc

import numpy as np
import pytest
from gallery_page import Page

from im2txt.results import gallery
from im2txt.results import result as results

HOSTILE = ['<script>alert(1)</script>', '"onerror="alert(1)', "'><b>&amp;",
           '</figure></main>', '--><!--', '\\u003c & 100%', 'a\nb\0c']


def caption(text='a dog .', probability=0.5):
  log_probability = math.log(probability) if probability else -math.inf
  return results.Caption(text, log_probability)


def attending(text='a dog .', rows=3, columns=5, seed=1):
  weights = np.random.default_rng(seed).random(
      [len(text.split(' ')), rows, columns], np.float32)
  return caption(text)._replace(
      attention=weights / weights.sum((1, 2), keepdims=True))


@pytest.fixture
def path(tmp_path):
  return str(tmp_path / 'out.html')


def source(path):
  with open(path, encoding='utf-8', newline='') as page:
    return page.read()


def write(path, *images):
  with gallery.write(path) as add:
    for image in images:
      add(image)
  return Page(source(path))


def card(path, *args, **kwargs):
  cards = write(path, results.Result(*args, **kwargs)).cards
  assert len(cards) == 1
  return cards[0]


def test_an_image_with_its_captions(path):
  thumbnail = bytes(range(256)) * 41
  shown = card(path, '/photos/of dogs/a.jpg',
               (caption('a dog .', 0.000423), caption('a cat .', 2e-9)),
               thumbnail=thumbnail)
  assert shown['name'] == 'a.jpg'
  assert shown['title'] == '/photos/of dogs/a.jpg'
  assert shown['captions'] == ['a dog .', 'a cat .']
  assert shown['in print'] == ['p=0.000423', 'p=2.00e-09']
  assert 'error' not in shown
  image = shown['image']
  assert image['alt'] == 'a dog .'
  assert (image['loading'], image['decoding']) == ('lazy', 'async')
  start = 'data:image/jpeg;base64,'
  assert image['src'].startswith(start)
  encoded = image['src'].removeprefix(start)
  assert base64.b64decode(encoded, validate=True) == thumbnail


def test_images_keep_their_order(path):
  names = [f'{i * 7 % 10}.jpg' for i in range(10)]
  page = write(path, *(results.Result(name, (caption(),)) for name in names))
  assert [shown['name'] for shown in page.cards] == names


@pytest.mark.parametrize('probabilities, widths', [
    ((0.02, 0.01, 0.005), ('100.00%', '50.00%', '25.00%')),
    ((0.01, 0.02), ('50.00%', '100.00%')),  # Ranked with weight for length.
    ((1.0, 0.0), ('100.00%', '0.00%')),
    ((0.0, 0.0), ('0.00%', '0.00%'))])
def test_bars_are_shares_of_the_most_probable(path, probabilities, widths):
  shown = card(path, 'a.jpg', tuple(
      caption(probability=probability) for probability in probabilities))
  assert shown['bars'] == [f'width:{width}' for width in widths]


def test_bars_of_captions_whose_probabilities_underflow(path):
  shown = card(path, 'a.jpg', (results.Caption('a', -1000.0),
                               results.Caption('b', -1000 - math.log(4))))
  assert shown['bars'] == ['width:100.00%', 'width:25.00%']


@pytest.mark.parametrize('probability, in_print', [
    (1.0, '1.000000'), (0.25, '0.250000'), (5.1e-7, '0.000001'),
    (4.9e-7, '4.90e-07'), (0.0, '0.00e+00')])
def test_probabilities_in_print(path, probability, in_print):
  shown = card(path, 'a.jpg', (caption(probability=probability),))
  assert shown['in print'] == [f'p={in_print}']


def test_an_error_stands_in_place_of_captions_and_image(path):
  shown = card(path, 'd/a.jpg', (caption(),), error='no <image>',
               thumbnail=b'x')
  assert shown['name'] == 'a.jpg' and shown['error'] == 'no <image>'
  assert not shown['captions'] and not shown['bars']
  assert 'image' not in shown


def test_without_a_thumbnail_there_is_no_image(path):
  shown = card(path, 'a.jpg', (caption(),))
  assert 'image' not in shown and shown['captions'] == ['a dog .']


def test_an_image_without_captions(path):
  shown = card(path, 'a.jpg', thumbnail=b'x')
  assert shown['image']['alt'] == '' and not shown['captions']


@pytest.mark.parametrize('text', HOSTILE)
def test_text_stays_text(path, text):
  plain = write(path, results.Result('a', (caption(),), thumbnail=b'x'),
                results.Result('a', error='b')).tags
  page = write(path, results.Result(text, (caption(text),), thumbnail=b'x'),
               results.Result(text, error=text))
  names = [(tag, sorted(attributes)) for tag, attributes in page.tags]
  assert names == [(tag, sorted(attributes)) for tag, attributes in plain]
  good, bad = page.cards
  assert good['captions'] == [text]
  assert good['image']['alt'] == good['title'] == bad['title'] == text
  assert bad['error'] == text
  assert good['name'] == bad['name'] == os.path.basename(text)


def test_other_scripts_and_names_that_are_not_utf8(path):
  name = os.fsdecode('küche/犬'.encode() + b'\xe9\xff.jpg')
  shown = card(path, name, (caption('ein Hünd 犬 🐕'),))
  assert shown['captions'] == ['ein Hünd 犬 🐕']
  assert shown['name'] == '犬\\udce9\\udcff.jpg'
  assert shown['title'] == 'küche/犬\\udce9\\udcff.jpg'


def test_nothing_comes_from_elsewhere(path):
  page = write(path, results.Result('a.jpg', (caption(),), thumbnail=b'x'))
  policies = [attributes['content'] for tag, attributes in page.tags
              if attributes.get('http-equiv') == 'Content-Security-Policy']
  assert policies == ["default-src 'none'; img-src data:; style-src "
                      "'unsafe-inline'; script-src 'unsafe-inline'"]
  tags = {tag for tag, _ in page.tags}
  assert not tags & {'link', 'a', 'iframe', 'object', 'embed', 'base', 'form'}
  addresses = [value for _, attributes in page.tags
               for name, value in attributes.items()
               if name in ('src', 'href', 'srcset', 'action', 'data')]
  assert len(addresses) == 1 and addresses[0].startswith('data:image/jpeg;')
  assert not re.search(r'https?:|=["\']?//|url\(|@import|fetch|import\(',
                       source(path))


def test_the_search_box_has_a_label_and_the_count_is_spoken(path):
  text = source(path) if write(path) else ''
  assert re.search(r'<label>Search <input type="search" autofocus[^>]*>\s*'
                   r'</label>', text)
  assert re.search(r'<output aria-live="polite">', text)


def test_the_script_finds_the_parts_it_reads(path):
  """What the script selects is what the cards are made of, or it makes."""
  page = write(path, results.Result('a.jpg', (attending(),), thumbnail=b'x'),
               results.Result('b.jpg', error='c'))
  text = source(path)
  tags = [tag for tag, _ in page.tags]
  classes = {attributes.get('class') for _, attributes in page.tags}
  classes |= set(re.findall(r"className = '(\w+)'", text))
  selected = re.findall(r"(?:querySelector(?:All)?|closest)\('([^']+)'", text)
  assert selected
  for selector in ', '.join(selected).split(', '):
    assert selector in tags or selector.removeprefix('.') in classes, selector
  assert tags.count('input') == tags.count('output') == 1
  read = set(re.findall(r'dataset\.(\w+)', text))
  assert read == {name.removeprefix('data-') for _, attributes in page.tags
                  for name in attributes if name.startswith('data-')}


def decode(grid, weights):
  rows, columns = map(int, grid.split('x'))
  decoded = np.frombuffer(base64.b64decode(weights, validate=True), np.uint8)
  return decoded.reshape(-1, rows, columns)


def test_the_page_has_where_the_model_looked(path):
  given = attending('a dog .', 3, 5), attending('two dogs', 7, 2, seed=2)
  shown = card(path, 'a.jpg', given, thumbnail=b'x', visible_fraction=299 / 346)
  assert float(shown['figure']['data-seen']) == pytest.approx(299 / 346)
  assert shown['list'] == {'class': 'attends'}
  assert len(shown['weights']) == 2
  for written, was in zip(shown['weights'], given, strict=True):
    weights = decode(*written)
    assert weights.shape == was.attention.shape
    assert weights.max((1, 2)).tolist() == [255] * len(was.words)
    for word, looked in zip(weights, was.attention, strict=True):
      np.testing.assert_allclose(
          word / 255, looked / looked.max(), atol=0.51 / 255)


def test_captions_are_plain_text_where_the_model_attends_too(path):
  text = 'a "dog" & <b> 犬'
  shown = card(path, 'a.jpg', (attending(text),), thumbnail=b'x')
  assert shown['captions'] == [text] and shown['image']['alt'] == text


def test_captions_with_and_without_attention(path):
  shown = card(path, 'a.jpg', (caption(), attending(), caption('')._replace(
      attention=np.zeros([0, 3, 5], np.float32))), thumbnail=b'x')
  none, some, empty = shown['weights']
  assert none == empty == (None, None) and some[0] == '3x5'


@pytest.mark.parametrize('result', [
    results.Result('a.jpg', (caption(), caption('')), thumbnail=b'x'),
    results.Result('a.jpg', (attending(),)),  # Nothing to lay it over.
    results.Result('a.jpg', (attending(),), 'no image', b'x')],
    ids=['no attention', 'no thumbnail', 'an error'])
def test_cards_without_attention_are_plain(path, result):
  without = result._replace(visible_fraction=1.0, captions=tuple(
      caption._replace(attention=None) for caption in result.captions))
  write(path, result._replace(visible_fraction=0.5))
  page = source(path)
  write(path, without)
  assert page == source(path)
  shown, = Page(page).cards
  assert shown['figure'] == shown.get('list', {}) == {}
  assert set(shown['weights']) <= {(None, None)}


def test_an_empty_gallery(path):
  page = write(path)
  assert not page.cards and ('main', {}) in page.tags


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_an_exception_keeps_the_older_file(path, tmp_path, error):
  write(path, results.Result('old.jpg'))
  before = source(path)
  with pytest.raises(error), gallery.write(path) as add:
    add(results.Result('new.jpg', thumbnail=b'x' * 100_000))
    assert source(path) == before
    raise error
  assert source(path) == before
  assert os.listdir(tmp_path) == ['out.html']


def test_an_exception_leaves_nothing_where_nothing_was(path, tmp_path):
  with pytest.raises(ValueError), gallery.write(path):
    raise ValueError
  assert not os.listdir(tmp_path)


def test_a_path_that_cannot_be_written(tmp_path):
  (tmp_path / 'folder').mkdir()
  for path in (tmp_path / 'folder', tmp_path / 'none' / 'out.html'):
    with pytest.raises(OSError, match=path.name):
      write(str(path))
  assert os.listdir(tmp_path) == ['folder']


def test_success_replaces_the_older_file(path, tmp_path):
  write(path, results.Result('old.jpg'))
  page = write(path, results.Result('new.jpg'))
  assert [shown['name'] for shown in page.cards] == ['new.jpg']
  assert os.listdir(tmp_path) == ['out.html']


def test_images_go_to_disk_and_not_to_memory(path):
  size, number = 100_000, 100
  tracemalloc.start()
  try:
    with gallery.write(path) as add:
      for i in range(number):
        add(results.Result(f'{i}.jpg', thumbnail=os.urandom(size)))
        assert os.path.getsize(f'{path}.tmp') > (i + 1) * size
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert os.path.getsize(path) > number * size
  assert peak < 15 * size
