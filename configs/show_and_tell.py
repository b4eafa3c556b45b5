r"""Show and Tell as im2txt trained it on COCO 2014.

Paper: Vinyals et al. 2016, https://arxiv.org/abs/1609.06647.
Command, phase 1 and phase 2:
  python -m im2txt.train --config=configs/show_and_tell.py \
    --input_file_pattern='coco/train-?????-of-00256' \
    --inception_checkpoint_file=inception_v3.ckpt --train_dir=runs/coco \
    --number_of_steps=1000000
  python -m im2txt.train --train_dir=runs/coco --train_inception \
    --number_of_steps=3000000
Time and score: not run here to the end (weeks on one machine).
"""

from im2txt import configuration


def get_config() -> configuration.Config:
  """The defaults are im2txt's ModelConfig and TrainingConfig."""
  return configuration.Config()
