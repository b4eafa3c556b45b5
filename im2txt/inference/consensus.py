"""Rank captions of an image by the captions of similar images.

Consensus re-ranking: the best of the captions that a search found is the one
that agrees most with the captions of the nearest images (Devlin et al. 2015,
https://arxiv.org/abs/1505.04467, section 3.2; Mao et al. 2015,
https://arxiv.org/abs/1412.6632, section 8) and, a little, with the others that
were found, by their probabilities (minimum Bayes risk; Kumar and Byrne 2004,
https://aclanthology.org/N04-1022). Agreement is CIDEr-D.

Shapes: P images, C features of an image.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tqdm

from im2txt import configuration
from im2txt.inputs import bad_records, pipeline
from im2txt.inputs.captions import ShardCaptions
from im2txt.inputs.shards import Shards
from im2txt.results.result import Caption
from im2txt.scoring import cider
from im2txt.scoring.ptb_tokenizer import tokenize

tf1 = tf.compat.v1

_NUM_NEIGHBORS = 20
# Images count by their cosines to the power of this.
_SHARPNESS = 4
# Agreement with the other captions found, where that with the images' is 1.
_OWN_SHARE = 0.02


class Consensus:
  """Captioned images, to be searched by an image's features."""

  def __init__(
      self, features: np.ndarray, captions: Sequence[Sequence[str]]
  ):
    """Count in how many images each n-gram is.

    Args:
      features: float [P, C], pooled encoder outputs of each image.
      captions: of each image, written by people.

    Raises:
      ValueError: there is no caption.
    """
    captioned = np.array(list(map(bool, captions)), bool)
    self._captions = [
        list(map(tokenize, of_image)) for of_image in captions if of_image]
    self._cider = cider.CiderD(self._captions)
    features = features[captioned].astype(np.float32, copy=False)
    self._mean = features.mean(0)
    deviation = features.std(0)
    # A feature that is equal in all images is ignored. Its deviation may be
    # a little above 0, as its mean is rounded.
    self._scale = np.divide(
        1.0, deviation, out=np.zeros_like(deviation),
        where=np.ptp(features, 0) > 0.0)
    self._directions = self._normalize(features)

  def rank(
      self, features: np.ndarray, captions: Sequence[str],
      log_probabilities: Sequence[float],
  ) -> list[int]:
    """Order captions of an image by agreement.

    Args:
      features: float [C], pooled encoder outputs of the image.
      captions: of the image; of two that agree equally the earlier is better.
      log_probabilities: of the captions, nats.

    Returns:
      The captions' indices, best first.
    """
    if not captions:
      return []
    words = list(map(tokenize, captions))
    shares = np.exp(np.subtract(log_probabilities, max(log_probabilities)))
    agreement = np.array(self._cider.scores(words, *self._nearest(features)))
    agreement += _OWN_SHARE * np.array(
        self._cider.scores(words, words, shares / shares.sum()))
    return np.argsort(-agreement, kind='stable').tolist()

  def choose(
      self, features: np.ndarray, captions: Sequence[Caption],
      number: int | None = None,
  ) -> list[Caption]:
    """Return the captions of an image that agree most, best first.

    Args:
      features: float32 [C], pooled encoder outputs of the image.
      captions: found by the search.
      number: of captions to keep; None: all.
    """
    order = self.rank(
        features, [caption.text for caption in captions],
        [caption.log_probability for caption in captions])
    return [captions[i] for i in order[:number]]

  def _nearest(
      self, features: np.ndarray
  ) -> tuple[list[list[str]], list[float]]:
    """Return the captions of the nearest images, and their weights."""
    cosines = self._directions @ self._normalize(features)
    nearest = np.argsort(-cosines, kind='stable')[:_NUM_NEIGHBORS]
    # If no image is similar, all weigh the same.
    weights = (np.maximum(cosines[nearest], 0.0) ** _SHARPNESS
               if cosines[nearest[0]] > 0.0 else np.ones(len(nearest)))
    weights /= weights.sum()
    captions, shares = [], []
    for image, weight in zip(nearest, weights, strict=True):
      of_image = self._captions[image]
      captions += of_image
      shares += [weight / len(of_image)] * len(of_image)
    return captions, shares

  def _normalize(self, features: np.ndarray) -> np.ndarray:
    """Standardise features, [..., C], to vectors of length 1 or 0."""
    standard = features - self._mean
    standard *= self._scale
    lengths = np.linalg.norm(standard, axis=-1, keepdims=True)
    # What has length 0 stays as it is.
    return np.divide(standard, lengths, out=standard, where=lengths > 0.0)


def read(
    shards: Shards, config: configuration.ModelConfig, found: ShardCaptions
) -> Consensus:
  """Read the images of feature shards.

  Args:
    shards: the shards, which `LoadedModel.check_features` must accept.
    config: the model.
    found: the captions of the shards.

  Raises:
    ValueError: they are no feature shards or cannot be used.
  """
  pattern = shards.pattern
  if shards.features_for(config) is None:
    raise ValueError(f'{pattern} holds images; a consensus needs features: '
                     'make them with data_prep.cache_features')
  if not any(found.of_images):
    raise ValueError(f'{pattern}: no image has a caption to choose by')
  number = len(found.of_images)
  features = None
  done = 0
  with tf.Graph().as_default(), tf1.Session() as session:
    pooled = pipeline.make_images(shards, config, found.first).pooled
    session.run(tf1.tables_initializer())
    with (bad_records.explained_errors(shards, config),
          tqdm.tqdm(total=number, unit='image', disable=None,
                    desc='reading features', leave=False) as bar):
      while done < number:
        batch = session.run(pooled)
        if features is None:
          features = np.empty([number, batch.shape[1]], np.float32)
        features[done:done + len(batch)] = batch
        done += len(batch)
        bar.update(len(batch))
  return Consensus(features, found.of_images)
