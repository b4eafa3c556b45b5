"""Files through the graph: order, batches, bad files, thumbnails.

The model is as small as it can be, and its captions tell images apart.
"""

import functools
import io
import os
import threading

import numpy as np
import pytest
import tensorflow as tf
from attending import HEIGHT, WIDTH, Cells
from PIL import Image

from im2txt import configuration
from im2txt.checkpoints.trained_model import TrainedModel
from im2txt.encoders import ENCODERS
from im2txt.inference import batch_captioner, loaded_model
from im2txt.models.captioner import Captioner
from im2txt.search.beam_search import Options, beam_search
from im2txt.search.rules import Rules
from im2txt.text.vocabulary import Vocabulary

tf1 = tf.compat.v1

V = 29
CONFIG = configuration.ModelConfig(
    encoder='cells', image_height=HEIGHT, image_width=WIDTH, vocab_size=V,
    embedding_size=5, num_lstm_units=7)


@pytest.fixture(scope='module', autouse=True)
def cells():
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(ENCODERS, 'cells', Cells)
    yield


@pytest.fixture(scope='module')
def model(tmp_path_factory, write_checkpoint):
  """A model of random weights that make it talk of the images."""
  folder = tmp_path_factory.mktemp('model')
  words = folder / 'words.txt'
  words.write_text(''.join(
      f'{word} 1\n' for word in ('<S>', '</S>', *'abcdefghijklmnopqrstuvwxyz')))
  random = np.random.default_rng(4)
  captioner = Captioner(CONFIG)
  with tf.Graph().as_default():
    captioner.build_step()
    values = {v.op.name: random.normal(0.0, 1.5, v.shape).astype(np.float32)
              for v in tf1.trainable_variables()}
  for name in values:  # The image is to have the say.
    values[name] *= {'image_embedding/weights': 5.0}.get(
        name, 0.1 if 'bias' in name or 'seq' in name else 1.0)
  write_checkpoint(folder / 'model.ckpt-3',
                   values | {'global_step': np.int64(3)})
  return TrainedModel(
      str(folder / 'model.ckpt-3'), captioner,
      Vocabulary(str(words), '<S>', '</S>', '<UNK>'))


def encode(pixels, file_format='PNG'):
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, file_format)
  return buffer.getvalue()


def colours(seed, height=30, width=50):
  """An image of a few large cells."""
  cells = np.random.default_rng(seed).integers(0, 256, (3, 5, 3), np.uint8)
  return np.asarray(Image.fromarray(cells).resize(
      (width, height), Image.Resampling.NEAREST))


@pytest.fixture(scope='module')
def images(tmp_path_factory):
  """Names and pixels of 70 images, of which some take longer to decode."""
  folder = tmp_path_factory.mktemp('images')
  pixels = {}
  for i in range(70):
    size = (900, 1500) if i % 9 == 0 else (30, 50)
    path = folder / f'{i * 37 % 70:02}.png'
    pixels[str(path)] = colours(i, *size)
    path.write_bytes(encode(pixels[str(path)]))
  return pixels


def search_of(model, length=7, **options):
  return functools.partial(beam_search, rules=Rules(model.vocab, length),
                           options=Options(**options))


def caption(model, files, batch_size=32, thumbnail_side=None, **options):
  return list(batch_captioner.caption_files(
      loaded_model.combine([model]), [str(file) for file in files],
      search_of(model, **options), batch_size, thumbnail_side))


@pytest.fixture(scope='module')
def expected(model, images):
  """What the same search says of the pixels, given it one by one."""
  with tf.Graph().as_default(), tf1.Session() as session:
    image = tf1.placeholder(tf.float32, [None, None, 3])
    # As in im2txt: 346 / 299 of the size, of which the centre is seen.
    resized = tf1.image.resize_images(
        image, [round(HEIGHT * 346 / 299), round(WIDTH * 346 / 299)])
    resized = tf.image.resize_with_crop_or_pad(resized, HEIGHT, WIDTH)
    decoder, memory, _ = model.captioner.connect(
        resized[tf.newaxis] / 127.5 - 1.0)
    found = search_of(model)(decoder, memory)
    saver = tf1.train.Saver(tf1.global_variables())
    saver.restore(session, model.prefix)
    return [session.run(found, {image: pixels}) for pixels in images.values()]


@pytest.mark.parametrize('batch_size', [1, 7, 32, 100])
def test_captions_are_of_their_images_in_order(
    model, images, expected, batch_size):
  batches = caption(model, images, batch_size)
  assert [len(batch) for batch in batches] == [
      batch_size] * (70 // batch_size) + [70 % batch_size] * (
          70 % batch_size > 0)
  found = sum(batches, [])
  assert [result.file for result in found] == list(images)
  for result, (sentences, log_probabilities, *_) in zip(
      found, expected, strict=True):
    assert result.error is None and result.thumbnail is None
    there = np.isfinite(log_probabilities)
    sentences, log_probabilities = sentences[there], log_probabilities[there]
    assert [caption.text for caption in result.captions] == [
        model.vocab.to_sentence(sentence) for sentence in sentences]
    assert [caption.log_probability for caption in result.captions] == (
        pytest.approx(log_probabilities, abs=1e-4))
  # Mixed up they would not be the same.
  assert len({result.captions for result in found}) == 70
  assert len({result.captions[0].text for result in found}) > 20


def test_only_captions_that_there_are(model, images):
  # Of length 2 only the empty one is complete; the search has room for 40.
  [[result]] = caption(model, list(images)[:1], length=2, beam_size=40)
  assert [caption.text for caption in result.captions] == ['']
  assert isinstance(result.captions[0].log_probability, float)


def test_files_that_are_no_images_cost_their_own_line(
    model, images, tmp_path):
  good = list(images)[:4]
  png = (tmp_path / good[0]).read_bytes()
  bad = {'cut.png': png[:len(png) // 2], 'empty.jpg': b'', 'text.jpg': b'text',
         'head.jpg': b'\xff\xd8\xff\xe0' * 3, 'zeros.png': bytes(999)}
  for name, content in bad.items():
    (tmp_path / name).write_bytes(content)
  (tmp_path / 'folder.jpg').mkdir()
  names = [*bad, 'folder.jpg', 'gone.jpg']
  files = [str(tmp_path / name) for name in names]
  mixed = [files[0], good[0], *files[1:4], good[1], good[2], *files[4:],
           good[3]]
  whole = {result.file: result for result in caption(model, good)[0]}
  for batch_size in (1, 3, 32):
    found = sum(caption(model, mixed, batch_size), [])
    assert [result.file for result in found] == mixed
    for result in found:
      if result.file in whole:
        assert result.error is None
        assert [c.text for c in result.captions] == [
            c.text for c in whole[result.file].captions]
      else:
        assert not result.captions and result.thumbnail is None
        assert result.error and len(result.error) < 300
        assert len(result.error.splitlines()) == 1
        assert 'node' not in result.error


def test_nothing_but_bad_files(model, tmp_path):
  [[result]] = caption(model, [tmp_path / 'gone.jpg'], thumbnail_side=20)
  assert 'gone.jpg' in result.error and 'No such file' in result.error


def test_no_files(model):
  assert caption(model, []) == []


def test_the_same_file_twice_and_names_that_are_no_utf8(model, tmp_path):
  name = os.fsdecode(os.fsencode(tmp_path) + b'/caf\xe9, 1.png')
  with open(name, 'wb') as f:
    f.write(encode(colours(1)))
  [[first, second]] = caption(model, [name, name])
  assert first.file == second.file == name and first.captions
  for one, other in zip(first.captions, second.captions, strict=True):
    assert one.text == other.text
    assert one.log_probability == pytest.approx(other.log_probability)


def test_thumbnails(model, tmp_path):
  sizes = {'wide.png': (60, 90), 'high.png': (90, 60), 'small.png': (12, 20)}
  for i, (name, size) in enumerate(sizes.items()):
    (tmp_path / name).write_bytes(encode(colours(i, *size)))
  [found] = caption(model, [tmp_path / name for name in sizes],
                    thumbnail_side=30)
  forms = []
  for i, result in enumerate(found):
    assert result.captions
    with Image.open(io.BytesIO(result.thumbnail)) as image:
      assert image.format == 'JPEG'
      forms.append(image.size)
      # Each its own image's.
      np.testing.assert_allclose(
          np.asarray(image).mean(axis=(0, 1)),
          colours(i).mean(axis=(0, 1)), atol=12)
  assert forms == [(30, 20), (20, 30), (20, 12)]


def test_images_of_other_kinds(model, tmp_path):
  image = Image.fromarray(colours(5))
  image.save(tmp_path / 'a.bmp')
  image.save(tmp_path / 'b.webp', lossless=True)
  image.convert('RGBA').save(tmp_path / 'c.png')
  image.save(tmp_path / 'd.not', 'PNG')
  [found] = caption(model, sorted(tmp_path.iterdir()))
  assert [result.error for result in found] == [None] * 4
  # All of the same pixels.
  assert len({result.captions[0].text for result in found}) == 1


def test_results_come_while_images_are_left(model, images, tmp_path):
  # A pipe without a writer: who opens it to read waits.
  os.mkfifo(tmp_path / 'pipe.jpg')
  results = batch_captioner.caption_files(
      loaded_model.combine([model]), [*images, str(tmp_path / 'pipe.jpg')],
      search_of(model), 7)
  # The tenth batch is searched for while the next is encoded.
  assert [len(next(results)) for _ in range(9)] == [7] * 9
  # Opened and closed, it is an empty file for whoever has begun to read it by
  # then: nobody waits at the end.
  closing = threading.Thread(target=results.close)
  closing.start()
  while closing.is_alive():
    os.close(os.open(tmp_path / 'pipe.jpg', os.O_RDWR))
    closing.join(0.05)


def test_a_damaged_checkpoint(model, images, tmp_path):
  for suffix in ('index', 'data-00000-of-00001'):
    with open(f'{model.prefix}.{suffix}', 'rb') as f:
      content = f.read()
    (tmp_path / f'model.ckpt-3.{suffix}').write_bytes(
        content if suffix == 'index' else content[:50])
  damaged = model._replace(prefix=str(tmp_path / 'model.ckpt-3'))
  with pytest.raises(ValueError, match='model.ckpt-3'):
    caption(damaged, images)
