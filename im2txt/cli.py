"""The command `im2txt`, for those who installed this project.

`im2txt caption photo.jpg` is `python -m im2txt.run_inference photo.jpg`, and so
on.
"""

import runpy
import sys

# Imported only when run: TensorFlow takes seconds.
_COMMANDS = {
    'caption': ('run_inference', 'captions images'),
    'train': ('train', 'trains a captioner, or trains it on'),
    'evaluate': ('evaluate', "perplexity and scores of a run's checkpoints"),
    'score': ('score_captions', 'scores captions in a file'),
    'check': ('check_shards', 'names the bad records of shards'),
    'export': ('export', 'exports a trained model, to be served'),
}
_HELP = '\n'.join([
    'usage: im2txt COMMAND [FLAG...]', '',
    *(f'  {name:10}{what}' for name, (_, what) in _COMMANDS.items()), '',
    '  im2txt caption photo.jpg', '',
    '`im2txt COMMAND --help` explains a command.'])


def main() -> None:
  """Run the module of a command as Python would by `-m`."""
  command = sys.argv[1] if len(sys.argv) > 1 else '--help'
  if command in ('-h', '--help', 'help'):
    print(_HELP)
    return
  if command not in _COMMANDS:
    print(f'im2txt: error: there is no command {command!r}; there are '
          f'{", ".join(_COMMANDS)}', file=sys.stderr)
    sys.exit(2)
  module, _ = _COMMANDS[command]
  sys.argv[:2] = [f'im2txt {command}']
  # As the main module its docstring is what --help says.
  runpy.run_module(f'im2txt.{module}', run_name='__main__', alter_sys=True)


if __name__ == '__main__':
  main()
