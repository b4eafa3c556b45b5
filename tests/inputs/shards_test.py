"""Which shards a pattern means, and what is known of them."""

import pytest

from im2txt.inputs.shards import Shards


def test_files_come_in_order(tmp_path):
  for name in 'cab':
    (tmp_path / name).write_text('not empty')
  shards = Shards.find(f'{tmp_path}/[bc],{tmp_path}/a')
  assert shards.files == tuple(f'{tmp_path}/{name}' for name in 'bca')
  assert shards.folder == str(tmp_path)
  assert shards.features is None


def test_a_file_that_is_being_written_is_none_yet(tmp_path):
  for name in ('train-00000-of-00002', 'train-00001-of-00002.tmp'):
    (tmp_path / name).write_text('not empty')
  assert Shards.find(f'{tmp_path}/train-*').files == (
      f'{tmp_path}/train-00000-of-00002',)


def test_each_replica_reads_a_part(tmp_path):
  for i in range(5):
    (tmp_path / f'x{i}').write_text('not empty')
  shards = Shards.find(f'{tmp_path}/x*', 'skip')
  assert shards.part(0, 1) is shards
  parts = [shards.part(i, 2) for i in range(2)]
  assert [part.files for part in parts] == [
      shards.files[0::2], shards.files[1::2]]
  assert all(part.skips_bad_records for part in parts)
  with pytest.raises(ValueError, match='6 replicas .* are 5'):
    shards.part(0, 6)


def test_the_vocabulary_lies_beside_the_shards(tmp_path):
  (tmp_path / 'x').write_text('not empty')
  assert Shards.find(f'{tmp_path}/x').vocab_file is None
  (tmp_path / 'word_counts.txt').write_text('a 1\n')
  assert Shards.find(f'{tmp_path}/x').vocab_file == (
      f'{tmp_path}/word_counts.txt')


def test_there_is_stop_and_skip(tmp_path):
  (tmp_path / 'x').write_text('not empty')
  assert not Shards.find(f'{tmp_path}/x').skips_bad_records
  with pytest.raises(ValueError, match="bad_records is 'maybe'"):
    Shards.find(f'{tmp_path}/x', 'maybe')


def test_captions_can_be_read_of_shards_of_several_kinds(tmp_path):
  for kind in ('images', 'features'):
    (tmp_path / kind).mkdir()
    (tmp_path / kind / 'x').write_text('not empty')
  (tmp_path / 'features' / 'features.json').write_text('{}')
  shards = Shards.find(f'{tmp_path}/images/x,{tmp_path}/features/x')
  assert len(shards.files) == 2
  with pytest.raises(ValueError, match='features'):
    shards.features_for(None)
