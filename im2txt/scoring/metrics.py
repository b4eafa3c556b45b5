"""Scores of captions against those that people wrote, and their diversity.

The scores are computed by pycocoevalcap, COCO's evaluation: BLEU (Papineni et
al. 2002), METEOR (Denkowski and Lavie 2014), ROUGE_L (Lin 2004) and CIDEr
(Vedantam et al. 2015). What COCO's evaluation calls CIDEr is the paper's
CIDEr-D, with its clipping and its penalty for length. METEOR needs Java; the
others do not, for the tokenizer is ours.
"""

import contextlib
import importlib.util
import shutil
import subprocess
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from absl import logging

from im2txt.scoring import constant_captions
from im2txt.scoring.ptb_tokenizer import tokenize

BLEU = ('Bleu_1', 'Bleu_2', 'Bleu_3', 'Bleu_4')
# All of them, as COCO's evaluation spells them, in the order to show them in.
NAMES = (*BLEU, 'METEOR', 'ROUGE_L', 'CIDEr')
_JAVA_SECONDS = 60  # After which a Java that does not say its version fails.


def check_available(name: str | None = None) -> None:
  """Refuses to score where that cannot be done.

  Args:
    name: a score that is needed; METEOR may be missing otherwise.

  Raises:
    ValueError: pycocoevalcap is not installed, or METEOR is what is needed
      and there is no working Java.
  """
  if importlib.util.find_spec('pycocoevalcap') is None:
    raise ValueError("scores need pycocoevalcap: pip install '.[metrics]' in "
                     'the folder of this project')
  problem = _java_problem() if name == 'METEOR' else None
  if problem:
    raise ValueError(f'METEOR cannot be computed: {problem}')


class Scores(NamedTuple):
  """By the names above; without METEOR where it cannot be computed."""

  overall: dict[str, float]
  each: dict[str, list[float]]  # Of each image, in their order.


class Diversity(NamedTuple):
  """How unlike each other, and unlike those of training, captions are."""

  distinct: float      # Different captions, as a share of all.
  novel: float | None  # Share that no caption of training equals.
  num_words: int       # Different words in all of them.
  mean_length: float   # In words.


class Constant(NamedTuple):
  """A caption said of every image."""

  caption: str
  scores: dict[str, float]


class Evaluation(NamedTuple):
  """All that is said of a set of captions."""

  captions: Scores
  diversity: Diversity
  # By 'Bleu_4' and 'CIDEr', the constant caption that has most of it.
  constants: dict[str, Constant]

  def summary(self) -> dict[str, Any]:
    """Everything but the scores of each image, as it is written to JSON."""
    return {
        'num_images': len(self.captions.each['CIDEr']),
        'captions': self.captions.overall,
        'diversity': self.diversity._asdict(),
        'constants': {name: constant._asdict()
                      for name, constant in self.constants.items()}}


class Scorer:
  """References to score captions against, any number of times."""

  def __init__(
      self,
      references: Mapping[Hashable, Sequence[str]],
      training_captions: Iterable[str] | None,
      split: Callable[[str], list[str]] = tokenize,
  ):
    """Tokenizes them and finds the best constant captions.

    Args:
      references: what people wrote of each image, a caption at least.
      training_captions: None if they are not at hand: novelty is unknown
        then, and the constant captions are chosen from the references.
      split: makes words of a reference; `str.split` of tokenized ones.

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
    problem = _java_problem()
    if problem:
      logging.warning('METEOR is left out: %s', problem)
    self._has_java = problem is None
    choice = self._training or set().union(*self._references.values())
    # Split again as pycocoevalcap does, for a word of ours may have a blank.
    found = constant_captions.best(
        map(str.split, sorted(choice)),
        [list(map(str.split, captions))
         for captions in self._references.values()])
    self._best = {name: ' '.join(words) for name, (words, _) in found.items()}
    self._constants: dict[str, Constant] = {}  # Scored with the first captions.

  @property
  def names(self) -> tuple[str, ...]:
    """The scores that there will be."""
    return tuple(name for name in NAMES
                 if name != 'METEOR' or self._has_java)

  def evaluate(self, captions: Mapping[Hashable, str]) -> Evaluation:
    """Scores captions.

    Args:
      captions: one of each image that there are references of.
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
    """Scores several sets of tokenized captions."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    candidates = [{image: [caption] for image, caption in captions.items()}
                  for captions in several]
    # Of each score, for each set, the overall one and those of the images.
    found: dict[str, list[Any]] = {name: [] for name in BLEU}
    for captions in candidates:
      bleu = Bleu(4).compute_score(self._references, captions, verbose=0)
      for name, *of_set in zip(BLEU, *bleu, strict=True):
        found[name].append(of_set)
    found['ROUGE_L'] = self._apply(Rouge(), candidates)
    found['CIDEr'] = self._apply(Cider(), candidates)
    if self._has_java:
      try:
        found['METEOR'] = self._meteor(candidates)
      except (OSError, ValueError):  # What it said went nowhere.
        logging.warning('METEOR is left out: its Java program failed')
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

  def _meteor(
      self, candidates: Sequence[Mapping[Hashable, list[str]]]
  ) -> list[tuple[float, Sequence[float]]]:
    from pycocoevalcap.meteor.meteor import Meteor
    meteor = Meteor()
    try:
      return self._apply(meteor, candidates)
    except BaseException:  # Ctrl-C, too.
      # When it is deleted, it would wait for the lock for ever and then
      # complain of the pipe.
      if meteor.lock.locked():
        meteor.lock.release()
      with contextlib.suppress(OSError):
        meteor.meteor_p.stdin.close()
      raise


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


def _java_problem() -> str | None:
  """Why METEOR cannot be computed, if so."""
  java = shutil.which('java')
  if java is None:
    return 'it needs java, which is not on PATH'
  # On PATH may be a stub as macOS has it, or what is left of a package.
  try:
    subprocess.run([java, '-version'], capture_output=True, check=True,
                   timeout=_JAVA_SECONDS)
  except (OSError, subprocess.SubprocessError):
    return f'{java} -version fails'
  return None
