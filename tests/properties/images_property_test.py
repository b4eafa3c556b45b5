"""Images: judged, or refused with one clear line, before they are decoded."""

import io

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from strategies import damaged

from data_prep.images import stored_images
from im2txt.inputs import image_size

KINDS = ('JPEG', 'PNG', 'GIF', 'BMP', 'WEBP', 'TIFF', 'PPM')


def image(kind, width, height):
  buffer = io.BytesIO()
  Image.new('RGB', (width, height), (200, 30, 90)).save(buffer, kind)
  return buffer.getvalue()


whole = st.builds(image, st.sampled_from(KINDS), st.integers(1, 23),
                  st.integers(1, 17))


@given(data=whole)
def test_what_is_whole_has_no_problem(data):
  assert image_size.problem(data) == ''
  with image_size.opened(data) as found:
    found.load()


@given(data=whole.flatmap(damaged))
def test_what_is_damaged_is_judged(tmp_path_factory, data):
  assert '\n' not in image_size.problem(data)
  path = tmp_path_factory.getbasetemp() / 'damaged'
  path.write_bytes(data)
  problem = stored_images.check(
      str(path), stored_images.ImageFormat()).problem
  assert problem is None or (problem and '\n' not in problem)
