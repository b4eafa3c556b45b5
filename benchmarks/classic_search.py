"""im2txt's beam search written plainly, to compare others with.

An image at a time, the graph run for each word, and the probabilities of all
words sorted in Python.
"""

import math
from typing import Any

import numpy as np

from im2txt.caption_generator import Model


def search(
    model: Model, vocab: Any, image: Any, beam_size: int,
    max_caption_length: int, factor: float = 0.0, session: Any = None,
) -> list[tuple[list[int], float, float, np.ndarray]]:
  """Caption an image.

  Args:
    model: gives the probabilities.
    vocab: has `start_id` and `end_id`.
    image: what the model takes for one.
    beam_size: partial captions kept at each step.
    max_caption_length: in words, both markers counted.
    factor: complete captions are ranked by their log probability over their
      length to the power of this.
    session: what the model takes for a session.

  Returns:
    Sentence, log probability, score and state of each caption, best first.
  """
  def best(captions):
    return sorted(captions, key=lambda c: c[2], reverse=True)[:beam_size]

  state = model.feed_image(session, image)[0]
  partial, complete = [([vocab.start_id], 0.0, 0.0, state)], []
  for _ in range(max_caption_length - 1):
    softmax, states, _ = model.inference_step(
        session, np.array([c[0][-1] for c in partial]),
        np.array([c[3] for c in partial]))
    extended = []
    for i, (sentence, logprob, _, _) in enumerate(partial):
      words = sorted(enumerate(softmax[i]), key=lambda x: -x[1])[:beam_size]
      for word, probability in words:
        if probability < 1e-12:
          continue
        new, total = [*sentence, word], logprob + math.log(probability)
        if word == vocab.end_id:
          complete.append((new, total, total / len(new) ** factor, states[i]))
        else:
          extended.append((new, total, total, states[i]))
    partial, complete = best(extended), best(complete)
    if not partial:
      break
  return best(complete or partial)
