"""Which shards a pattern means."""

from im2txt.inputs import records as shard_records


def test_files_come_in_order(tmp_path):
  for name in 'cab':
    (tmp_path / name).write_text('not empty')
  assert shard_records.find_shards(f'{tmp_path}/[bc],{tmp_path}/a') == [
      f'{tmp_path}/{name}' for name in 'bca']


def test_a_file_that_is_being_written_is_none_yet(tmp_path):
  for name in ('train-00000-of-00002', 'train-00001-of-00002.tmp'):
    (tmp_path / name).write_text('not empty')
  assert shard_records.find_shards(f'{tmp_path}/train-*') == [
      f'{tmp_path}/train-00000-of-00002']
