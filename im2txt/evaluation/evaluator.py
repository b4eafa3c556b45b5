"""The evaluation graph: perplexity and accuracy of a checkpoint.

Perplexity = exp(sum of cross-entropies / number of words).
"""

import numpy as np
import tensorflow as tf
import tqdm

from im2txt import configuration
from im2txt.checkpoints import encoder_weights, restore, variable_loader
from im2txt.checkpoints.reader import Reader
from im2txt.evaluation.caption_evaluation import CaptionEvaluation
from im2txt.evaluation.metrics_file import Result
from im2txt.inputs import bad_records, pipeline
from im2txt.inputs.shards import Shards
from im2txt.models.captioner import Captioner, Mode
from im2txt.text import vocabulary

tf1 = tf.compat.v1

# Image-caption pairs of im2txt's validation split that it evaluates on.
NUM_EVAL_EXAMPLES = 10132


class Evaluator:
  """The evaluation graph, to be run on any checkpoint of its model.

  Attributes:
    pattern: the evaluation shards.
    num_examples: image-caption pairs to evaluate at most.
  """

  def __init__(
      self,
      captioner: Captioner,
      shards: Shards,
      num_examples: int,
      captions: CaptionEvaluation | None = None,
  ):
    """Build the graph.

    Args:
      captioner: the model.
      shards: the evaluation shards.
      num_examples: image-caption pairs to evaluate at most.
      captions: to caption all images of these shards, too, and score the
        captions.
    """
    self.pattern = shards.pattern
    self._captioner = captioner
    self._shards = shards
    self.num_examples = num_examples
    self._captions = captions
    self._unknown_id = _unknown_id(shards, captioner.config)
    self._graph = tf.Graph()
    with self._graph.as_default():
      # Deterministic training demands a seed; the initial values are not used.
      tf1.set_random_seed(0)
      batch = pipeline.make_batch(shards, captioner.config, training=False)
      outputs = captioner.build(Mode.EVAL, batch)
      shape = tf.shape(batch.input_mask)
      self._fetches = [  # Each [B, T].
          tf.reshape(outputs.caption_loss.losses, shape),
          tf.reshape(outputs.caption_loss.weights, shape),
          tf.reshape(outputs.caption_loss.correct, shape),
          tf.equal(batch.target_seqs, -1 if self._unknown_id is None
                   else self._unknown_id)]
      self._variables = tf1.global_variables()
      self._loader = variable_loader.VariableLoader(self._variables)
      self._init = [tf1.local_variables_initializer(),
                    tf1.tables_initializer()]

  def fingerprint(self, prefix: str) -> str:
    """Return a digest of the model's values, whatever else was saved.

    A resumed run saves its checkpoint once more, and a run begun anew has
    another model of the same step.

    Raises:
      ValueError: the checkpoint cannot be read.
    """
    reader = Reader(prefix, averaged=True)
    return variable_loader.digest({
        v.op.name: reader.value(v.op.name) for v in self._variables
        if v.op.name in reader.shapes})

  def evaluate(self, prefix: str) -> Result:
    """Evaluate a checkpoint, with the moving averages of its weights if any.

    Raises:
      ValueError: the checkpoint or the data cannot be used.
    """
    values = restore.read_values(prefix, self._variables, averaged=True)
    encoder_weights.check_features(
        self._captioner.config, self._captioner.encoder, self._shards, values)
    total_loss = total_words = total_correct = total_unknown = examples = 0
    with (tf1.Session(graph=self._graph) as session,
          bad_records.explained_errors(
              self._shards, self._captioner.config),
          tqdm.tqdm(total=self.num_examples, unit='pair', disable=None,
                    desc='Evaluating', leave=False) as bar):
      self._loader.load(session, values)
      session.run(self._init)
      coordinator = tf1.train.Coordinator()
      threads = []
      if self._graph.get_collection(tf1.GraphKeys.QUEUE_RUNNERS):
        threads = tf1.train.start_queue_runners(session, coordinator)
      while examples < self.num_examples:
        try:
          losses, words, correct, unknown = session.run(self._fetches)
        except tf.errors.OutOfRangeError:
          break
        wanted = self.num_examples - examples
        losses = losses[:wanted]
        total_loss += np.sum(losses, dtype=np.float64)
        total_words += int(np.sum(words[:wanted]))
        total_correct += int(np.sum(correct[:wanted]))
        total_unknown += int(np.sum((unknown * words)[:wanted]))
        examples += len(losses)
        bar.update(len(losses))
      coordinator.request_stop()
      coordinator.join(threads, stop_grace_period_secs=10,
                       ignore_live_threads=True)
    if not total_words:
      raise ValueError(f'the shards {self.pattern} hold no captions')
    step = int(values[tf1.GraphKeys.GLOBAL_STEP])
    with np.errstate(over='ignore'):  # After divergence: infinite.
      perplexity = float(np.exp(total_loss / total_words))
    return Result(step, perplexity, examples, total_words, self.pattern,
                  self.num_examples, variable_loader.digest(values),
                  self._captions and self._captions.evaluate(values),
                  total_correct / total_words,
                  None if self._unknown_id is None
                  else total_unknown / total_words)

  def is_comparable(self, result: Result) -> bool:
    """Return whether a result is of the same data and has all the scores."""
    if (result.input_file_pattern, result.num_eval_examples) != (
        self.pattern, self.num_examples):
      return False
    return (self._captions is None
            or self._captions.is_comparable(result.scores))


def _unknown_id(
    shards: Shards, config: configuration.ModelConfig
) -> int | None:
  """Return the id of the unknown word in shards; None: not known."""
  if shards.vocab_file is None:
    return None
  return vocabulary.Vocabulary(
      shards.vocab_file, config.start_word, config.end_word,
      config.unknown_word).unk_id
