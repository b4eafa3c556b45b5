"""The content of the toy scenes, and captions that are true of them."""

import itertools
import random
from typing import NamedTuple

# Captions are written with these words, and score_toy_captions looks for them.
COLOURS = {
    'red': (222, 24, 36),
    'orange': (255, 132, 0),
    'yellow': (255, 222, 10),
    'green': (84, 204, 50),
    'blue': (18, 66, 212),
    'purple': (132, 22, 160),
}
NUMBERS = {'a': 1, 'an': 1, 'one': 1, 'two': 2, 'three': 3}
PLURALS = {
    'balloon': 'balloons',
    'boat': 'boats',
    'butterfly': 'butterflies',
    'car': 'cars',
    'flower': 'flowers',
    'house': 'houses',
    'mushroom': 'mushrooms',
    'umbrella': 'umbrellas',
}

HABITATS = {
    'balloon': 'air',
    'boat': 'water',
    'butterfly': 'air',
    'car': 'land',
    'flower': 'land',
    'house': 'land',
    'mushroom': 'land',
    'umbrella': 'land',
}
_VERBS = {
    'balloon': ('floating', 'flying'),
    'boat': ('sailing', 'floating'),
    'butterfly': ('flying',),
    'car': ('parked', 'waiting'),
    'flower': ('growing', 'blooming'),
    'house': ('standing',),
    'mushroom': ('growing', 'standing'),
    'umbrella': ('standing',),
}
# Phrases that are true of the background, by the habitat of the object.
_PLACES = {
    'beach': {
        'air': ('over the beach', 'above the sand by the sea'),
        'land': ('on the beach', 'on the sand by the sea'),
        'water': ('near the beach', 'on the sea'),
    },
    'city': {
        'air': ('over the city', 'above a street'),
        'land': ('in the city', 'on a street'),
        'water': ('near the city', 'on a river in the city'),
    },
    'meadow': {
        'air': ('over a meadow', 'above the grass'),
        'land': ('in a meadow', 'on the grass'),
        'water': ('near a meadow', 'on a lake in the hills'),
    },
    'night': {
        'air': ('at night', 'in the night sky'),
        'land': ('at night', 'under the moon'),
        'water': ('at night', 'on the water under the moon'),
    },
    'snow': {
        'air': ('over the snow', 'in front of snowy mountains'),
        'land': ('in the snow', 'in front of snowy mountains'),
        'water': ('near the snow', 'in front of snowy mountains'),
    },
}
_SIZES = {'small': ('small', 'little'), 'large': ('large', 'big')}
# Captions do not tell left from right: training flips images at random.
_POSITIONS = {
    1: {'left': 'off to the side', 'middle': 'in the middle',
        'right': 'off to the side'},
    2: {'pair': 'side by side'},
    3: {'row': 'in a row', 'group': 'in a group'},
}
_TEMPLATES = (
    '{things} {place}.',
    'there {are} {things} {place}.',
    '{things} {doing} {place}.',
    '{things} {are} {doing} {place}.',
    'a picture of {things} {place}.',
    'we can see {things} {position}.',
    '{things} {place}, {position}.',
    'the picture shows {things} {doing} {position}.',
)


class Scene(NamedTuple):
  """The content of one image.

  Attributes:
    object: a key of PLURALS.
    colour: a key of COLOURS.
    count: how many objects, 1 to 3.
    background: beach, city, meadow, night or snow.
    size: small or large.
    position: left, middle or right of one object; pair of two; row or group of
      three.
  """

  object: str
  colour: str
  count: int
  background: str
  size: str
  position: str


def sample_scenes(number: int, rng: random.Random) -> list[Scene]:
  """Sample scenes that all differ in more than their position.

  Args:
    number: how many.
    rng: source of randomness.

  Returns:
    The scenes in random order.

  Raises:
    ValueError: there are fewer different scenes.
  """
  combinations = list(itertools.product(
      PLURALS, COLOURS, _POSITIONS, _PLACES, _SIZES))
  if number > len(combinations):
    raise ValueError(f'--num_train and --num_val ask for {number} scenes, but '
                     f'there are only {len(combinations)} different ones')
  rng.shuffle(combinations)
  return [Scene(*drawn, position=rng.choice(list(_POSITIONS[drawn[2]])))
          for drawn in combinations[:number]]


def write_captions(scene: Scene, rng: random.Random) -> list[str]:
  """Return five different captions that are true."""
  return [_caption(template, scene, rng)
          for template in rng.sample(_TEMPLATES, 5)]


def _caption(template: str, scene: Scene, rng: random.Random) -> str:
  adjectives = [scene.colour]
  if rng.random() < 0.4:
    adjectives.insert(0, rng.choice(_SIZES[scene.size]))
  article = 'an' if adjectives[0][0] in 'aeiou' else 'a'
  number = rng.choice([
      word for word, value in NUMBERS.items()
      if value == scene.count and word in (article, 'one', 'two', 'three')])
  noun = scene.object if scene.count == 1 else PLURALS[scene.object]
  text = template.format(
      things=' '.join([number, *adjectives, noun]),
      are='is' if scene.count == 1 else 'are',
      doing=rng.choice(_VERBS[scene.object]),
      place=rng.choice(
          _PLACES[scene.background][HABITATS[scene.object]]),
      position=_POSITIONS[scene.count][scene.position])
  return text[0].upper() + text[1:]
