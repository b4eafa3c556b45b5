"""What a run begins with."""

import shutil

from im2txt import configuration, run_start


def test_the_runs_own_vocabulary_is_found_again(task, tmp_path):
  # As where training began with --vocab_file.
  find = run_start.find_vocabulary
  shards = tmp_path / 'shards'
  shards.mkdir()
  for path in task.folder.glob('train-*'):
    shutil.copy(path, shards)
  config = configuration.ModelConfig(
      input_file_pattern=f'{shards}/train-*', vocab_size=17)
  run = tmp_path / 'run'
  run.mkdir()
  assert find(config, None, str(run / 'model.ckpt-1')) is None
  shutil.copy(task.vocab_file, run)
  assert find(config, None, str(run / 'model.ckpt-1')) == str(
      run / 'word_counts.txt')
  shutil.copy(task.vocab_file, shards)
  assert find(config, None, str(run / 'model.ckpt-1')) == str(
      shards / 'word_counts.txt')
