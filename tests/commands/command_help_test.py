"""What --help says of the commands."""

import re

import pytest


@pytest.mark.parametrize('module, names', [
    ('im2txt.run_inference', ['beam_size', 'no_repeated_trigrams']),
    ('im2txt.export', ['beam_size', 'output_dir']),
    ('im2txt.train', ['config', 'eval_file_pattern', 'train_inception']),
    ('im2txt.evaluate', ['keep_best', 'metrics', 'beam_size']),
    ('data_prep.build_conceptual_captions_data', ['fetch', 'max_side']),
    ('data_prep.cache_features', ['config', 'augmentations', 'reuse']),
])
def test_help_lists_the_flags_of_every_file(launch, module, names):
  # Absl lists those of the command's own file only, but for adopted ones.
  stdout = launch(module, '--help').stdout
  assert f'python -m {module} ' in stdout
  for name in names:
    assert re.search(rf'--(\[no\])?{name}:', stdout), name
