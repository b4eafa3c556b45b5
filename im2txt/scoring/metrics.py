"""Metrics of captions against references, and their diversity.

The metrics are computed by pycocoevalcap, COCO's evaluation: BLEU (Papineni et
al. 2002), METEOR (Denkowski and Lavie 2014), ROUGE_L (Lin 2004) and CIDEr
(Vedantam et al. 2015). What COCO's evaluation calls CIDEr is the paper's
CIDEr-D, with its clipping and length penalty. Only METEOR needs Java: COCO's
tokenizer, which does too, is replaced by `ptb_tokenizer`.
"""

import importlib.util
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from absl import logging

from im2txt.scoring import constant_captions, meteor
from im2txt.scoring.ptb_tokenizer import tokenize

BLEU = ('Bleu_1', 'Bleu_2', 'Bleu_3', 'Bleu_4')
# All metrics, as COCO's evaluation spells them, in the order of tables.
NAMES = (*BLEU, 'METEOR', 'ROUGE_L', 'CIDEr')


def check_available(name: str | None = None) -> None:
  """Check that captions can be scored here.

  Args:
    name: a metric that is required; METEOR is optional otherwise.

  Raises:
    ValueError: pycocoevalcap is not installed, or METEOR is required and does
      not work.
  """
  if importlib.util.find_spec('pycocoevalcap') is None:
    raise ValueError("scores need pycocoevalcap: pip install '.[metrics]' in "
                     'the folder of this project')
  problem = meteor.problem() if name == 'METEOR' else None
  if problem:
    raise ValueError(f'METEOR cannot be computed: {problem}')


class Scores(NamedTuple):
  """Scores by metric; without METEOR where there is no Java."""

  overall: dict[str, float]
  each: dict[str, list[float]]  # For each image, in the references' order.


class Diversity(NamedTuple):
  """How much captions differ from each other and from training captions."""

  distinct: float      # Different captions, as a fraction of all.
  novel: float | None  # Fraction that is no training caption.
  num_words: int       # Different words in all of them.
  mean_length: float   # In words.


class Constant(NamedTuple):
  """A caption that is the same for every image, and its scores."""

  caption: str
  scores: dict[str, float]


class Evaluation(NamedTuple):
  """Everything computed for a set of captions."""

  captions: Scores
  diversity: Diversity
  # By 'Bleu_4' and 'CIDEr', the constant caption with the best score.
  constants: dict[str, Constant]

  def summary(self) -> dict[str, Any]:
    """Return everything but the scores of each image, for JSON files."""
    return {
        'num_images': len(self.captions.each['CIDEr']),
        'captions': self.captions.overall,
        'diversity': self.diversity._asdict(),
        'constants': {name: constant._asdict()
                      for name, constant in self.constants.items()}}


class Scorer:
  """The references, against which any number of caption sets are scored."""

  def __init__(
      self,
      references: Mapping[Hashable, Sequence[str]],
      training_captions: Iterable[str] | None,
      split: Callable[[str], list[str]] = tokenize,
  ):
    """Tokenize the references and find the best constant captions.

    Args:
      references: for each image its reference captions, at least one.
      training_captions: None if unknown: there is no novelty then, and the
        constant captions are chosen from the references.
      split: splits a reference into words; `str.split` if tokenized already.

    Raises:
      ValueError: pycocoevalcap is not installed, or no reference has a word.
    """
    check_available()
    self._references = {
        image: [' '.join(split(caption)) for caption in captions]
        for image, captions in references.items()}
    if not any(map(any, self._references.values())):
      raise ValueError('no caption of the references has a word')
    self._training = None if training_captions is None else {
        ' '.join(tokenize(caption)) for caption in training_captions}
    problem = meteor.java_problem()
    if problem:
      logging.warning('METEOR is left out: %s', problem)
    self._has_java = problem is None
    choice = self._training or set().union(*self._references.values())
    # Split at blanks as pycocoevalcap does: a token may contain one.
    found = constant_captions.best(
        map(str.split, sorted(choice)),
        [list(map(str.split, captions))
         for captions in self._references.values()])
    self._best = {name: ' '.join(words) for name, (words, _) in found.items()}
    self._constants: dict[str, Constant] = {}  # Scored at the first `evaluate`.

  @property
  def names(self) -> tuple[str, ...]:
    """Return the names of the metrics that are computed."""
    return tuple(name for name in NAMES
                 if name != 'METEOR' or self._has_java)

  def evaluate(self, captions: Mapping[Hashable, str]) -> Evaluation:
    """Score captions.

    Args:
      captions: one for each image of the references.
    """
    tokenized = {image: ' '.join(tokenize(captions[image]))
                 for image in self._references}
    if self._constants:
      [scores] = self._score([tokenized])
    else:
      scores, *others = self._score([tokenized, *(
          dict.fromkeys(tokenized, caption)
          for caption in self._best.values())])
      self._constants = {
          name: Constant(caption, found.overall) for (name, caption), found
          in zip(self._best.items(), others, strict=True)}
    return Evaluation(
        scores, _diversity(tokenized.values(), self._training),
        self._constants)

  def _score(
      self, several: Sequence[Mapping[Hashable, str]]
  ) -> list[Scores]:
    """Score several sets of tokenized captions."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    candidates = [{image: [caption] for image, caption in captions.items()}
                  for captions in several]
    # By metric, for each set: the overall score and those of the images.
    found: dict[str, list[Any]] = {name: [] for name in BLEU}
    for captions in candidates:
      bleu = Bleu(4).compute_score(self._references, captions, verbose=0)
      for name, *of_set in zip(BLEU, *bleu, strict=True):
        found[name].append(of_set)
    found['ROUGE_L'] = self._apply(Rouge(), candidates)
    found['CIDEr'] = self._apply(Cider(), candidates)
    if self._has_java:
      try:
        found['METEOR'] = meteor.score(self._references, candidates)
      except OSError as error:
        logging.warning('METEOR is left out: %s', error)
        self._has_java = False
    names = [name for name in NAMES if name in found]
    return [Scores({name: float(found[name][i][0]) for name in names},
                   {name: list(map(float, found[name][i][1]))
                    for name in names}) for i in range(len(several))]

  def _apply(
      self, scorer: Any, candidates: Sequence[Mapping[Hashable, list[str]]]
  ) -> list[tuple[float, Sequence[float]]]:
    return [scorer.compute_score(self._references, captions)
            for captions in candidates]


def _diversity(
    captions: Iterable[str], training: set[str] | None
) -> Diversity:
  captions = list(captions)
  words = [word for caption in captions for word in caption.split()]
  return Diversity(
      distinct=len(set(captions)) / len(captions),
      novel=(None if training is None else
             sum(caption not in training for caption in captions)
             / len(captions)),
      num_words=len(set(words)),
      mean_length=len(words) / len(captions))
