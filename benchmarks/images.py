"""Images to read, where it matters only how large they are."""

import os

import numpy as np
from PIL import Image


def draw(folder: str, number: int) -> list[str]:
  """Draw JPEGs of 500 x 375 pixels, as large as images of COCO are."""
  random = np.random.default_rng(0)
  files = []
  for i in range(number):
    coarse = Image.fromarray(
        random.integers(0, 256, (30, 40, 3), np.uint8)).resize((500, 375))
    files.append(os.path.join(folder, f'{i}.jpg'))
    coarse.save(files[-1], quality=90)
  return files
