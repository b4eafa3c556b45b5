"""A page of captioned images to look at and search, whole in one HTML file.

The page asks nothing of any network: thumbnails, style and script are inside.

Where the model attends, a word under the pointer, tapped, or reached with the
arrow keys lights up on the image what the model looked at for it, as in
`attention_sheets`.
"""

import base64
import contextlib
import html
import math
import os
from collections.abc import Iterator

import numpy as np

from im2txt.files import atomic_files
from im2txt.results import result as results

_HEAD = '''\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Captioned images</title>
<style>
:root { color-scheme: light dark; --page: #f4f5f7; --card: #fff;
  --ink: #1c2026; --faint: #59626e; --line: #dde1e6; --edge: #818994;
  --well: #eceef1; --bar: #3a78c9; --bad: #a3211a }
@media (prefers-color-scheme: dark) {
  :root { --page: #121417; --card: #1c1f24; --ink: #e6e8eb;
    --faint: #9da6b1; --line: #2d3239; --edge: #6f7883; --well: #262a30;
    --bar: #6aa5ee; --bad: #ff938a } }
* { box-sizing: border-box; margin: 0 }
body { background: var(--page); color: var(--ink);
  font: 15px/1.4 system-ui, sans-serif }
header { position: sticky; top: 0; z-index: 1; padding: 12px 20px;
  display: flex; flex-wrap: wrap; align-items: center; gap: 8px 20px;
  background: var(--page); border-bottom: 1px solid var(--line) }
h1 { font-size: 18px }
label { flex: 1; max-width: 520px; display: flex; align-items: center;
  gap: 8px }
@media (max-width: 640px) { label { order: 1; flex-basis: 100% } }
input { flex: 1; min-width: 0; padding: 6px 10px; font: inherit;
  border: 1px solid var(--edge); border-radius: 6px; background: var(--card) }
input:focus-visible { outline: 2px solid var(--bar); outline-offset: 1px }
output, .name, small { font-size: 13px; font-variant-numeric: tabular-nums }
output, .name, small, ::placeholder { color: var(--faint); opacity: 1 }
main { display: grid; gap: 16px; padding: 20px; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 270px), 1fr)) }
figure { position: relative; overflow: hidden; overflow-wrap: anywhere;
  background: var(--card); border-radius: 8px; border: 1px solid var(--line);
  content-visibility: auto; contain-intrinsic-size: auto 400px }
figure[hidden] { display: none }
img, canvas { display: block; width: 100%; height: 210px; object-fit: contain }
canvas { position: absolute; top: 0; pointer-events: none }
figcaption { padding: 10px 14px 14px }
.name { white-space: nowrap; overflow: hidden; text-overflow: ellipsis }
ol { padding: 0; list-style: none }
li { margin-top: 8px; display: grid; grid-template-columns: 1fr 11ch;
  align-items: center }
li:first-child .text { font-weight: 600 }
.text { grid-column: 1 / -1 }
.attends { border-radius: 3px }
.attends:focus-visible { outline: 2px solid var(--bar); outline-offset: 5px }
.attends .text { justify-self: start; cursor: pointer }
.lit { border-radius: 3px; background: var(--ink); color: var(--card);
  box-shadow: -3px 0 var(--ink) }
.bar, .bar i { display: block; height: 6px; border-radius: 3px }
img, .bar { background: var(--well) }
.bar i { background: var(--bar) }
small { text-align: right }
.error { margin-top: 8px; color: var(--bad) }
@media print { header { position: static } label, canvas { display: none }
  figure { content-visibility: visible; break-inside: avoid }
  .bar, .bar i { print-color-adjust: exact } }
</style>
<noscript><style>label { display: none }</style></noscript>
</head>
<body>
<header>
<h1>Captioned images</h1>
<label>Search <input type="search" autofocus autocomplete="off"
placeholder="words of captions and file names"></label>
<output aria-live="polite"></output>
</header>
<main>
'''

_TAIL = '''\
</main>
<script>
'use strict';
const box = document.querySelector('input');
const count = document.querySelector('output');
const fold = text => text.normalize('NFKC').toLowerCase();
const cards = Array.from(document.querySelectorAll('figure'), card => [card,
  fold(Array.from(card.querySelectorAll('.name, .text, .error'),
                  part => part.textContent).join('\\n'))]);
let frame, timer;

function filter() {
  const words = fold(box.value).split(/\\s+/).filter(Boolean);
  let shown = 0;
  for (const [card, text] of cards) {
    const found = words.every(word => text.includes(word));
    if (card.hidden === found) card.hidden = !found;
    shown += found;
  }
  const noun = cards.length === 1 ? ' image' : ' images';
  count.value = (words.length ? shown.toLocaleString('en') + ' of ' : '') +
    cards.length.toLocaleString('en') + noun;
}

function follow() {
  try {
    box.value = decodeURIComponent(location.hash.slice(1));
  } catch {  // A stray % in a link written by hand.
    box.value = location.hash.slice(1);
  }
  filter();
}

// Lays a word's weights over its image: white where the model looked, black
// elsewhere, both let the image through.
const veil = document.createElement('canvas');
const grid = document.createElement('canvas');
let lit = null;

// Captions are split into words where someone looks; most never are.
function split(list) {
  for (const text of list.querySelectorAll('.text')) {
    if (text.dataset.weights === undefined || text.children.length) continue;
    text.replaceChildren(...text.textContent.split(' ').map((word, i, all) => {
      const part = document.createElement('span');
      part.className = 'word';
      // With its space: no gaps for the pointer to fall in.
      part.textContent = i + 1 < all.length ? word + ' ' : word;
      return part;
    }));
  }
  return Array.from(list.querySelectorAll('.word'));
}

function light(word) {
  if (word === lit) return;
  if (lit) lit.classList.remove('lit');
  veil.remove();
  lit = word;
  if (!word) return;
  word.classList.add('lit');
  const text = word.parentNode, figure = word.closest('figure');
  const image = figure.querySelector('img');
  const [rows, columns] = text.dataset.grid.split('x').map(Number);
  const weights = atob(text.dataset.weights);
  const start = Array.from(text.children).indexOf(word) * rows * columns;
  const pixels = new ImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) {
    const weight = weights.charCodeAt(start + i) / 255;
    const alpha = .7 - .3 * weight;
    const grey = 255 * .4 * weight / alpha;
    pixels.data.set([grey, grey, grey, 255 * alpha], 4 * i);
  }
  grid.width = columns;
  grid.height = rows;
  grid.getContext('2d').putImageData(pixels, 0, 0);
  const {naturalWidth: width, naturalHeight: height} = image;
  const seen = [width, height].map(
    side => Math.max(1, Math.round(side * figure.dataset.seen)));
  const part = [Math.floor((width - seen[0]) / 2),
                Math.floor((height - seen[1]) / 2), ...seen];
  veil.width = width;
  veil.height = height;
  const pen = veil.getContext('2d');
  pen.fillStyle = 'rgb(0 0 0 / 70%)';
  pen.fillRect(0, 0, width, height);
  pen.clearRect(...part);
  pen.drawImage(grid, ...part);
  figure.append(veil);
}

for (const list of document.querySelectorAll('.attends')) {
  list.tabIndex = 0;  // One stop a card; the arrow keys go on from there.
  list.addEventListener('focus', () => {
    if (list.matches(':focus-visible')) light(split(list)[0] || null);
  });
  list.addEventListener('blur', () => light(null));
  list.addEventListener('keydown', event => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (event.key === 'Escape') light(null);
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    const all = split(list), next = all[all.indexOf(lit) + step];
    if (next) light(next);
    event.preventDefault();
  });
}
document.addEventListener('pointerover', event => {
  const list = event.target.closest('.attends');
  if (list) split(list);
  light(list && document.elementFromPoint(
    event.clientX, event.clientY)?.closest('.word'));
});

box.addEventListener('input', () => {
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(() => { filter(); scrollTo(0, 0); });
  clearTimeout(timer);  // Browsers refuse changes of address in a rush.
  timer = setTimeout(() => history.replaceState(
    null, '', '#' + encodeURIComponent(box.value)), 400);
});
addEventListener('hashchange', follow);
// Without a link's query, what was typed while the page loaded stays.
location.hash ? follow() : filter();
</script>
</body>
</html>
'''


@contextlib.contextmanager
def write(path: str) -> Iterator[results.Write]:
  """Writes a gallery, image by image, whole or not at all.

  Nothing is kept in memory. The page takes its name when the block ends
  well; if it does not, an older file of that name stays as it was.

  Args:
    path: the HTML file; `path`.tmp beside it holds the page meanwhile.

  Yields:
    A function that adds an image to the page.

  Raises:
    OSError: the file can't be written.
  """
  with atomic_files.write(path) as page:
    page.write(_HEAD)

    def add(result: results.Result) -> None:
      page.write(_card(result))

    yield add
    page.write(_TAIL)


def _card(result: results.Result) -> str:
  thumbnail = result.thumbnail if result.error is None else None
  attends = thumbnail is not None and any(
      caption.attention is not None for caption in result.captions)
  parts = [f'<figure data-seen="{result.seen:.6g}">\n' if attends
           else '<figure>\n']
  if thumbnail is not None:
    best = result.captions[0].text if result.captions else ''
    image = base64.b64encode(thumbnail).decode('ascii')
    parts.append(f'<img loading="lazy" decoding="async" '
                 f'alt="{html.escape(best)}" '
                 f'src="data:image/jpeg;base64,{image}">\n')
  parts.append(f'<figcaption>\n<p class="name" '
               f'title="{html.escape(result.file)}">'
               f'{html.escape(os.path.basename(result.file))}</p>\n')
  if result.error is not None:
    parts.append(f'<p class="error">{html.escape(result.error)}</p>\n')
  elif result.captions:
    parts += ['<ol class="attends">\n' if attends else '<ol>\n',
              *_lines(result.captions, attends), '</ol>\n']
  parts.append('</figcaption>\n</figure>\n')
  return ''.join(parts)


def _lines(
    captions: tuple[results.Caption, ...], attends: bool
) -> Iterator[str]:
  # Not the first's: a search that weighs length may rank a less probable
  # caption first. A difference of logarithms serves where both are 0.
  top = max(caption.log_probability for caption in captions)
  for caption in captions:
    share = (0.0 if top == -math.inf
             else math.exp(caption.log_probability - top))
    yield (f'<li><span class="text"{_weights(caption) if attends else ""}>'
           f'{html.escape(caption.text)}</span> '
           f'<span class="bar"><i style="width:{share:.2%}"></i></span> '
           f'<small>p={_in_print(caption.probability)}</small></li>\n')


def _weights(caption: results.Caption) -> str:
  """Attributes that the script reads: a byte a weight, word by word."""
  if caption.attention is None or not caption.words:
    return ''
  weights = np.rint(255 * caption.relative_attention).astype(np.uint8)
  _, rows, columns = weights.shape
  encoded = base64.b64encode(weights.tobytes()).decode('ascii')
  return f' data-grid="{rows}x{columns}" data-weights="{encoded}"'


def _in_print(probability: float) -> str:
  fixed = f'{probability:f}'
  return f'{probability:.2e}' if fixed == '0.000000' else fixed
