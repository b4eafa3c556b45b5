r"""Export a trained model, vocabulary and search included, to be served.

  python -m im2txt.export --checkpoint_path=runs/coco --output_dir=served/1

writes a SavedModel that needs nothing of this project. Its signature
`serving_default` takes `image_bytes`, string [B], whole image files, and
gives, best first,

  captions           string [B, R]
  probabilities      float32 [B, R]
  log_probabilities  float32 [B, R], nats
  errors             string [B]

(where fewer than R were found an empty text, 0 and -inf) by the search that
the flags ask for. An image that cannot be read has no captions, and `errors`
says why; it is empty for the others. The signature `with_options` takes
`beam_size` and `max_caption_length` too, int32 []. From Python:

  model = tf.saved_model.load('served/1')
  model.signatures['serving_default'](image_bytes=tf.constant([jpeg]))

TensorFlow Serving takes the folder `served`; in JSON the images are
`{"image_bytes": {"b64": "..."}}`.
"""

import dataclasses
import os
from collections.abc import Mapping

import tensorflow as tf
from absl import flags, logging

from im2txt import command_line
from im2txt.files import atomic_files, file_system, overwriting
from im2txt.flags.captioning import CaptioningFlags
from im2txt.flags.overwrite import OverwriteFlag
from im2txt.inference.loaded_model import LoadedModel
from im2txt.inputs import served_images
from im2txt.models.captioner import Captioner
from im2txt.search import beam_search, word_step
from im2txt.search.rules import Rules
from im2txt.text import vocabulary

tf1 = tf.compat.v1


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.captioning = CaptioningFlags(values)
    self.output_dir = flags.DEFINE_string(
        'output_dir', None, 'Folder to make. TensorFlow Serving wants its name '
        'to be a number, the version.', required=True, flag_values=values)
    self.tflite_file = flags.DEFINE_string(
        'tflite_file', None, 'Also write the model as a TensorFlow Lite file, '
        'for phones, which search step by step. Its signature `encode` makes '
        'of `images`, one of pixels in [-1, 1], the first `state`; `step` '
        'makes of `words` and `state` the `probabilities` of the next and a '
        '`next_state`.', flag_values=values)
    self.overwrite = OverwriteFlag(values)

Signatures = Mapping[
    str, tuple[Mapping[str, tf.Tensor], Mapping[str, tf.Tensor]]]


def to_text(sentences: tf.Tensor, vocab: vocabulary.Vocabulary) -> tf.Tensor:
  """Return captions in words, string [B, R], of word ids [B, R, T]."""
  words = ['' if i in (vocab.start_id, vocab.end_id)
           else f' {vocab.id_to_word(i)}' for i in range(len(vocab))]
  return tf.strings.strip(tf.strings.reduce_join(
      tf.gather(tf.constant(words, name='vocabulary'), sentences), axis=2))


def captioning_signatures(
    model: LoadedModel, rules: Rules, options: beam_search.Options
) -> Signatures:
  """Build the graph from files of images to captions; see the module.

  Args:
    model: what captions.
    rules: what a caption may be.
    options: how to search.

  Returns:
    Inputs and outputs of each signature, by their names.

  Raises:
    ValueError: the decoder cannot read captions that long.
  """
  image_bytes = tf1.placeholder(tf.string, [None], 'image_bytes')
  beam_size = tf1.placeholder_with_default(options.beam_size, [])
  max_length = tf1.placeholder_with_default(rules.max_caption_length, [])
  images, errors = served_images.read(image_bytes, model.config)
  decoder, memory, _ = model.captioner.connect(images)
  captions = beam_search.beam_search(
      decoder, memory,
      dataclasses.replace(word_step.limit_length(decoder, rules),
                          max_caption_length=max_length),
      dataclasses.replace(options, beam_size=beam_size))
  log_probabilities = tf.where(
      tf.equal(errors, '')[:, tf.newaxis], captions.log_probabilities,
      -float('inf'))
  outputs = {
      'captions': tf.where(
          log_probabilities > -float('inf'),
          to_text(captions.sentences, model.vocab), ''),
      'probabilities': tf.exp(log_probabilities),
      'log_probabilities': log_probabilities,
      'errors': errors}
  feeds = {'image_bytes': image_bytes}
  return {
      tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY: (feeds, outputs),
      'with_options': (
          feeds | {'beam_size': beam_size,
                      'max_caption_length': max_length}, outputs)}


def step_signatures(captioner: Captioner) -> Signatures:
  """Build the graph of the step-by-step search."""
  step = captioner.build_step()
  return {
      'encode': ({'images': step.images}, {'state': step.initial_state}),
      'step': ({'words': step.input_feed, 'state': step.state_feed},
               {'probabilities': step.softmax, 'next_state': step.state})}


def save(model: LoadedModel, signatures: Signatures, folder: str) -> None:
  """Restore a model into the current graph, and save that.

  Args:
    model: what the graph is of.
    signatures: see `captioning_signatures`.
    folder: to make.
  """
  restore = model.restorer()
  builder = tf1.saved_model.Builder(folder)
  with tf1.Session() as session:
    restore(session)
    builder.add_meta_graph_and_variables(
        session, [tf.saved_model.SERVING],
        {name: tf1.saved_model.predict_signature_def(*connected)
         for name, connected in signatures.items()})
    builder.save()


def main(flags_: Flags) -> None:
  """Export."""
  output_dir = flags_.output_dir.value
  if file_system.exists(output_dir):
    raise ValueError(f'--output_dir={output_dir} exists already; name '
                     'another, or delete it')
  lite = flags_.tflite_file.value
  if lite and not file_system.isdir(os.path.dirname(lite) or '.'):
    raise ValueError(f'--tflite_file={lite}: there is no such folder')
  if lite:
    overwriting.check('tflite_file', lite, None,
                      overwrite=flags_.overwrite.value())
  model = flags_.captioning.model()
  if lite and len(model.members) > 1:
    raise ValueError('--tflite_file holds one model; give one '
                     '--checkpoint_path')
  rules = flags_.captioning.search.rules(model.vocab)
  options = flags_.captioning.options()
  parent = os.path.dirname(file_system.abspath(output_dir))
  # Where a server looks, nothing appears that is not whole.
  with file_system.scratch_folder(parent, '.export-', '') as scratch:
    whole, steps = (os.path.join(scratch, name) for name in ('whole', 'steps'))
    with tf.Graph().as_default():
      save(model, captioning_signatures(model, rules, options), whole)
    if lite:
      with tf.Graph().as_default():
        save(model, step_signatures(model.captioner), steps)
      converter = tf.lite.TFLiteConverter.from_saved_model(
          steps, signature_keys=['encode', 'step'])
      atomic_files.write_bytes(lite, converter.convert())
      logging.info('wrote %s', lite)
    file_system.replace(whole, output_dir)
    logging.info('wrote %s', output_dir)


if __name__ == '__main__':
  command_line.run(main, Flags)
