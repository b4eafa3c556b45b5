"""Names of variables in checkpoints, today's and older ones."""

import re

# Today's name -> names of the same variable in older im2txt checkpoints
# (TensorFlow 1.0 to 1.1, and before 1.0).
LEGACY_NAMES = {
    'lstm/basic_lstm_cell/kernel': (
        'lstm/basic_lstm_cell/weights',
        'lstm/BasicLSTMCell/Linear/Matrix'),
    'lstm/basic_lstm_cell/bias': (
        'lstm/basic_lstm_cell/biases',
        'lstm/BasicLSTMCell/Linear/Bias'),
}

# Scope of the optimiser's own variables.
VARIABLE_SCOPE = 'optimizer'

# Names of a variable's slots and averages: of variable v `<scope>/v/<suffix>`.
AVERAGE = 'ExponentialMovingAverage'

# Variables of a checkpoint that no model has: the step, and those of
# optimisers, ours, im2txt's and those of its forks.
TRAINING_ONLY = re.compile(
    rf'^({VARIABLE_SCOPE}|OptimizeLoss)/|'
    r'/(Adam|Adam_1|Adagrad|Momentum|RMSProp|RMSProp_1|Ftrl|Ftrl_1|'
    r'ExponentialMovingAverage)$|^beta[12]_power$|^global_step$')


def average_name(name: str) -> str:
  """Return the name of a variable's moving average in a checkpoint."""
  return f'{VARIABLE_SCOPE}/{name}/{AVERAGE}'
