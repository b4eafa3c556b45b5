"""Draw the backgrounds of the toy scenes.

Their colours are pale, so that none looks like the colour of an object.
"""

import math
import random
from collections.abc import Callable

from PIL import Image, ImageDraw

SIZE = 256  # Pixels on a side of an image.

_FINER = 4  # Drawn larger, then reduced: Pillow draws jagged edges.
_SIZE = _FINER * SIZE

_Rgb = tuple[int, int, int]


def _lighten(colour: _Rgb, share: float) -> _Rgb:
  return tuple(round(c + share * (255 - c)) for c in colour)


def _gradient(top: _Rgb, bottom: _Rgb) -> Image.Image:
  size = (_SIZE, _SIZE)
  return Image.composite(Image.new('RGB', size, bottom),
                         Image.new('RGB', size, top),
                         Image.linear_gradient('L').resize(size))


def _layer(draw: ImageDraw.ImageDraw, rng: random.Random, y: int, swing: int,
           fill: _Rgb) -> None:
  """Draw a layer with a wavy, lighter upper edge."""
  waves = [(rng.uniform(0.6, 1.6), rng.uniform(0, 7)),
           (rng.uniform(2, 3.5), rng.uniform(0, 7))]
  edge = [(x, y + swing * sum(math.sin(n * x * 6.3 / _SIZE + phase) / n
                              for n, phase in waves))
          for x in range(0, _SIZE + 1, 16)]
  for drop, paint in ((0, _lighten(fill, 0.35)), (7, fill)):
    draw.polygon([*((x, h + drop) for x, h in edge), (_SIZE, _SIZE),
                  (0, _SIZE)], fill=paint)


def _clouds(draw: ImageDraw.ImageDraw, rng: random.Random,
            fill: _Rgb) -> None:
  for _ in range(rng.randint(1, 4)):
    x, y, w = rng.randint(0, _SIZE), rng.randint(60, 330), rng.randint(50, 90)
    draw.rounded_rectangle((x - 2 * w, y, x + 2 * w, y + w), w // 2, fill=fill)
    draw.ellipse((x - 1.4 * w, y - 0.6 * w, x + 0.1 * w, y + 0.9 * w),
                 fill=fill)
    draw.ellipse((x - 0.5 * w, y - w, x + 1.4 * w, y + 0.9 * w), fill=fill)


def _disc(draw: ImageDraw.ImageDraw, rng: random.Random, fill: _Rgb,
          halo: _Rgb) -> None:
  x, y, r = rng.randint(120, 900), rng.randint(110, 240), rng.randint(56, 84)
  for radius, paint in ((r + 26, halo), (r, fill)):
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=paint)


def _pines(draw: ImageDraw.ImageDraw, rng: random.Random, y: int,
           fill: _Rgb) -> None:
  for _ in range(rng.randint(4, 9)):
    x, h = rng.randint(0, _SIZE), rng.randint(60, 120)
    base = y + rng.randint(-6, 30)
    for part in (0, 0.3):
      draw.polygon([(x, base - h), (x - h * (0.2 + part / 2),
                                    base - h * (0.5 - part)),
                    (x + h * (0.2 + part / 2), base - h * (0.5 - part))],
                   fill=fill)


def _water(draw: ImageDraw.ImageDraw, rng: random.Random, y: int,
           fill: _Rgb) -> None:
  draw.rectangle((0, y, _SIZE, _SIZE), fill=fill)
  glint = _lighten(fill, 0.4)
  for _ in range(26):
    x, depth = rng.randint(-40, _SIZE), rng.random()
    at, w = y + 14 + depth * (_SIZE - y - 30), 30 + 60 * depth
    draw.rounded_rectangle((x, at, x + w, at + 4 + 4 * depth), 3, fill=glint)


def _specks(draw: ImageDraw.ImageDraw, rng: random.Random, number: int,
            top: int, bottom: int, fill: _Rgb) -> None:
  for _ in range(number):
    x, y, r = rng.randint(0, _SIZE), rng.randint(top, bottom), rng.randint(2, 6)
    draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)


def _tufts(draw: ImageDraw.ImageDraw, rng: random.Random, top: int,
           fill: _Rgb) -> None:
  for _ in range(60):
    x, y = rng.randint(0, _SIZE), rng.randint(top, _SIZE)
    draw.line([(x - 8, y - 22), (x, y), (x + 9, y - 18)], fill=fill, width=5)


def _street_lamps(draw: ImageDraw.ImageDraw, rng: random.Random, y: int,
                  fill: _Rgb) -> None:
  for x in range(rng.randint(20, 200), _SIZE, 340):
    draw.line([(x, y), (x, y - 140)], fill=fill, width=9)
    draw.line([(x, y - 140), (x + 40, y - 140)], fill=fill, width=7)
    draw.ellipse((x + 22, y - 142, x + 56, y - 108), fill=(255, 250, 228))


def _beach(rng: random.Random, on_water: bool) -> Image.Image:
  image = _gradient((196, 224, 232), (250, 236, 212))
  draw = ImageDraw.Draw(image)
  _disc(draw, rng, (255, 250, 230), (236, 238, 226))
  _clouds(draw, rng, (250, 250, 248))
  horizon = rng.randint(440, 490)
  if on_water:
    _layer(draw, rng, horizon - 14, 24, (228, 210, 178))
    _water(draw, rng, horizon + 30, (134, 178, 186))
  else:
    _water(draw, rng, horizon, (134, 178, 186))
    _layer(draw, rng, horizon + 64, 26, (212, 226, 222))
    _layer(draw, rng, horizon + 94, 26, (232, 214, 182))
    _specks(draw, rng, 50, horizon + 160, _SIZE, (208, 188, 154))
  return image


def _city(rng: random.Random, on_water: bool) -> Image.Image:
  image = _gradient((214, 202, 214), (248, 230, 216))
  draw = ImageDraw.Draw(image)
  _clouds(draw, rng, (236, 226, 228))
  street = rng.randint(530, 580)
  for fill, low, high in (((208, 196, 204), 260, 420),
                          ((184, 174, 186), 110, 300)):
    x = rng.randint(-80, 0)
    while x < _SIZE:
      w, h = rng.randint(90, 150), rng.randint(low, high)
      draw.rectangle((x, street - h, x + w, street), fill=fill)
      for left in range(x + 18, x + w - 28, 36):
        for top in range(street - h + 22, street - 30, 46):
          if rng.random() < 0.6:
            draw.rectangle((left, top, left + 16, top + 22),
                           fill=_lighten(fill, 0.35))
      x += w + rng.randint(0, 30)
  if on_water:
    draw.rectangle((0, street - 24, _SIZE, street), fill=(186, 178, 180))
    _water(draw, rng, street, (150, 166, 184))
  else:
    draw.rectangle((0, street, _SIZE, _SIZE), fill=(192, 184, 186))
    draw.rectangle((0, street + 70, _SIZE, _SIZE), fill=(182, 178, 186))
    _street_lamps(draw, rng, street + 50, (150, 144, 156))
    for x in range(rng.randint(-120, 0), _SIZE, 190):
      draw.rectangle((x, 940, x + 100, 954), fill=(214, 208, 204))
  return image


def _meadow(rng: random.Random, on_water: bool) -> Image.Image:
  image = _gradient((206, 226, 236), (244, 244, 230))
  draw = ImageDraw.Draw(image)
  _disc(draw, rng, (255, 252, 236), (234, 240, 238))
  _clouds(draw, rng, (252, 252, 250))
  horizon = rng.randint(440, 500)
  _layer(draw, rng, horizon, 60, (196, 210, 184))
  _pines(draw, rng, horizon + 90, (158, 180, 152))
  _layer(draw, rng, horizon + 70, 40, (176, 198, 156))
  if on_water:
    _water(draw, rng, horizon + 90, (150, 184, 194))
  else:
    _layer(draw, rng, horizon + 160, 36, (158, 184, 138))
    _tufts(draw, rng, horizon + 220, (132, 160, 116))
  return image


def _night(rng: random.Random, on_water: bool) -> Image.Image:
  image = _gradient((92, 106, 142), (184, 184, 200))
  draw = ImageDraw.Draw(image)
  _specks(draw, rng, 70, 0, 460, (240, 238, 244))
  _disc(draw, rng, (252, 244, 220), (122, 134, 164))
  horizon = rng.randint(460, 520)
  _layer(draw, rng, horizon, 50, (142, 150, 174))
  _pines(draw, rng, horizon + 80, (100, 110, 138))
  if on_water:
    _water(draw, rng, horizon + 60, (118, 136, 162))
  else:
    _layer(draw, rng, horizon + 70, 40, (126, 136, 160))
    _layer(draw, rng, horizon + 190, 40, (112, 122, 146))
    _tufts(draw, rng, horizon + 250, (94, 104, 130))
  return image


def _snow(rng: random.Random, on_water: bool) -> Image.Image:
  image = _gradient((186, 198, 216), (236, 238, 244))
  draw = ImageDraw.Draw(image)
  horizon = rng.randint(450, 510)
  for x in range(rng.randint(-100, 60), _SIZE + 200, 230):
    h, w = rng.randint(200, 360), rng.randint(190, 280)
    draw.polygon([(x - w, horizon + 60), (x, horizon - h),
                  (x + w, horizon + 60)], fill=(164, 174, 194))
    draw.polygon([(x, horizon - h), (x - w * 0.36, horizon - h * 0.58),
                  (x - w * 0.1, horizon - h * 0.66),
                  (x + w * 0.08, horizon - h * 0.5),
                  (x + w * 0.36, horizon - h * 0.58)], fill=(246, 248, 252))
  _layer(draw, rng, horizon + 10, 36, (216, 224, 234))
  _pines(draw, rng, horizon + 70, (134, 152, 166))
  if on_water:
    _water(draw, rng, horizon + 70, (158, 178, 200))
  else:
    _layer(draw, rng, horizon + 100, 36, (236, 240, 246))
  _specks(draw, rng, 60, 0, _SIZE, (252, 253, 255))
  return image


_DRAW: dict[str, Callable[[random.Random, bool], Image.Image]] = {
    'beach': _beach,
    'city': _city,
    'meadow': _meadow,
    'night': _night,
    'snow': _snow,
}


def draw_background(
    name: str, on_water: bool, rng: random.Random
) -> Image.Image:
  """Draw a background.

  Args:
    name: beach, city, meadow, night or snow.
    on_water: whether the foreground is water, for boats.
    rng: source of randomness of the details.

  Returns:
    RGB image, SIZE pixels on a side.
  """
  return _DRAW[name](rng, on_water).reduce(_FINER)
