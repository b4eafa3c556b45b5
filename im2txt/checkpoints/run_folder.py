"""Read what a run folder holds beside its checkpoints."""

from im2txt import configuration
from im2txt.decoders import DECODERS


def load_config(folder: str) -> configuration.Config:
  """Read the configuration of a run folder.

  Raises:
    OSError: the folder has none.
    ValueError: it has a mistake; the message names file and field.
  """
  source = f'{folder}/{configuration.CONFIG_FILE}'
  sections = configuration.read(folder)
  decoder = sections['model'].get(
      'decoder', configuration.ModelConfig().decoder)
  return configuration.Config(
      model=configuration.fill(
          configuration.lookup(
              DECODERS, f'{source}: decoder', decoder).config_class,
          sections['model'], source),
      training=configuration.fill(
          configuration.TrainingConfig, sections['training'], source),
      name=sections['name'])
