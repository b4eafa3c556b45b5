"""The commands that are broken on purpose, each on a tiny task.

A task's command writes into one folder; its result is what of that folder has
to be the same whatever happened on the way.
"""

import dataclasses
import json
import pathlib
import random
import re
from collections.abc import Callable, Mapping

import tiny_task

_IMAGES = 60  # More than a builder does without workers.
_COLOURS = ('red', 'green', 'blue')
TRAIN_STEPS = 24
SAVE_STEPS = 5


@dataclasses.dataclass(frozen=True)
class Task:
  """A command that a bench breaks.

  Attributes:
    name: stands in the table.
    arguments: module and flags; `{out}` stands for the folder it writes into.
    result: of the folder, what has to be equal to an undisturbed run's.
    is_whole: whether a file's name is one that only a whole file has.
    workers: whether worker processes do the work.
  """

  name: str
  arguments: tuple[str, ...]
  result: Callable[[pathlib.Path], Mapping[str, object]]
  is_whole: Callable[[str], bool]
  workers: bool = False

  def command(self, out: pathlib.Path) -> list[str]:
    """Module and flags for a folder to write into."""
    return [argument.replace('{out}', str(out)) for argument in self.arguments]


def files(folder: pathlib.Path) -> dict[str, bytes]:
  """Every file of a folder with its bytes, by the path within."""
  return {str(path.relative_to(folder)): path.read_bytes()
          for path in sorted(folder.rglob('*')) if path.is_file()}


def _draw(folder: pathlib.Path) -> dict[str, list[str]]:
  """Draw images; return their captions by file name."""
  folder.mkdir(parents=True)
  rng = random.Random(1)
  captions = {}
  for i in range(_IMAGES):
    colour = _COLOURS[i % 3]
    shape = rng.choice(['square', 'circle'])
    name = f'{i + 1}_{colour}.jpg'
    (folder / name).write_bytes(tiny_task.draw_image(colour, shape))
    captions[name] = [f'a {colour} {shape} .', f'the {shape} number {i}']
  return captions


def _write_coco(path: pathlib.Path, captions: Mapping[str, list[str]]) -> None:
  ids = {name: int(name.partition('_')[0]) for name in captions}
  path.write_text(json.dumps({
      'images': [{'id': ids[name], 'file_name': name} for name in captions],
      'annotations': [
          {'id': 2 * ids[name] + k, 'image_id': ids[name], 'caption': caption}
          for name, texts in captions.items()
          for k, caption in enumerate(texts)]}))


def builders(folder: pathlib.Path) -> list[Task]:
  """The builders of data sets.

  Args:
    folder: where what they read is written.
  """
  images = folder / 'images'
  captions = _draw(images)
  names = list(captions)
  parts = {'train': names[:-6], 'val': names[-6:]}
  (folder / 'token.txt').write_text(''.join(
      f'{name}#{i}\t{caption}\n' for name in names
      for i, caption in enumerate(captions[name])))
  (folder / 'captions.csv').write_text('image,caption\n' + ''.join(
      f'{name},{caption}\n' for name in names for caption in captions[name]))
  for part, members in parts.items():
    (folder / f'{part}.txt').write_text('\n'.join(members))
    (folder / f'{part}.tsv').write_text(''.join(
        f'{caption}\thttp://example.org/{name}\t{name}\n' for name in members
        for caption in captions[name]))
    _write_coco(folder / f'{part}.json',
                {name: captions[name] for name in members})
  shards = ('--train_shards=6', '--val_shards=2', '--min_word_count=1',
            '--output_dir={out}')

  def builder(name: str, *flags: str) -> Task:
    return Task(name, (f'data_prep.{name}', *flags, *shards), files,
                lambda name: not name.endswith(('.tmp', '.lock')), workers=True)

  return [
      builder('build_coco_data', '--split=official',
              f'--train_image_dir={images}', f'--val_image_dir={images}',
              f'--train_captions_file={folder / "train.json"}',
              f'--val_captions_file={folder / "val.json"}'),
      builder('build_flickr8k_data', f'--image_dir={images}',
              f'--captions_file={folder / "token.txt"}',
              f'--train_list={folder / "train.txt"}',
              f'--dev_list={folder / "val.txt"}'),
      builder('build_custom_data',
              f'--captions_file={folder / "captions.csv"}',
              f'--image_dir={images}', '--val_fraction=0.2'),
      builder('build_conceptual_captions_data', f'--image_dir={images}',
              f'--train_captions_file={folder / "train.tsv"}',
              f'--val_captions_file={folder / "val.tsv"}'),
      Task('build_toy_data',
           ('data_prep.build_toy_data', '--num_train=20', '--num_val=5',
            '--output_dir={out}'), files,
           lambda name: not name.endswith(('.tmp', '.lock'))),
  ]


def cache_features(config: pathlib.Path, shards: pathlib.Path) -> Task:
  """Making features of shards.

  Args:
    config: the configuration's file.
    shards: their folder.
  """
  return Task(
      'cache_features',
      ('data_prep.cache_features', f'--config={config}', '--batch_size=3',
       f'--input_file_pattern={shards}/*-of-?????', '--output_dir={out}'),
      files, lambda name: not name.endswith(('.tmp', '.lock')))


def train(config: pathlib.Path, shards: pathlib.Path) -> Task:
  """Training; its result is where it ends and a loss curve without a hole."""
  return Task(
      'train',
      ('im2txt.train', f'--config={config}', '--train_dir={out}',
       f'--input_file_pattern={shards}/train-*-of-?????',
       f'--number_of_steps={TRAIN_STEPS}', '--log_every_n_steps=1',
       f'--config.training.save_interval_steps={SAVE_STEPS}',
       '--config.training.save_summaries_steps=1'),
      _trained, lambda name: bool(re.fullmatch(
          r'config\.json|word_counts.*|checkpoint|model\.ckpt-\d+\.index',
          name)))


def _trained(folder: pathlib.Path) -> dict[str, object]:
  from im2txt.checkpoints import folder as checkpoints
  from im2txt.evaluation import run_history

  return {
      'newest': checkpoints.step_of(checkpoints.newest(str(folder))),
      'steps of the curve': [
          step for step, _ in run_history.read_run(str(folder)).losses],
      'left over': sorted(
          name for name in files(folder)
          if '.tempstate' in name or name.endswith(('.tmp', '.lock')))}


def caption(run: pathlib.Path, images: pathlib.Path) -> Task:
  """Batch captioning into files.

  Args:
    run: the run folder of the model.
    images: a folder of them.
  """
  return Task(
      'run_inference',
      ('im2txt.run_inference', f'--checkpoint_path={run}', str(images),
       '--batch_size=2', '--output_jsonl={out}/captions.jsonl',
       '--output_json={out}/captions.json',
       '--output_html={out}/captions.html'),
      _captioned, lambda name: not name.endswith(('.tmp', '.progress')))


def _captioned(folder: pathlib.Path) -> dict[str, object]:
  """The files; of numbers three digits.

  After going on the images are in other batches, and the last digits of
  probabilities follow from the batch.
  """
  return {
      name: [json.loads(line, parse_float=lambda x: f'{float(x):.3g}')
             for line in content.splitlines()]
      if name == 'captions.jsonl' else content
      for name, content in files(folder).items()}
