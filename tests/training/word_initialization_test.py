"""Word vectors of files, and output biases that know how frequent words are.

Shapes: B captions, T padded caption length, V vocabulary, E embedding.
"""

import dataclasses
import gzip
import math
import pathlib
import re

import fresh_session
import numpy as np
import pytest
import tensorflow as tf
from attending import HEIGHT, WIDTH, Cells
from tiny_task import WORDS

from im2txt import configuration
from im2txt.decoders import TransformerConfig
from im2txt.encoders import ENCODERS
from im2txt.inputs.batch import Batch
from im2txt.models.captioner import Captioner, Mode
from im2txt.models.losses import BANNED
from im2txt.search import beam_search, sampling
from im2txt.search.rules import Rules
from im2txt.text import vocabulary
from im2txt.training import optimization, word_initialization

tf1 = tf.compat.v1

SHARED = pathlib.Path(__file__).resolve().parents[3] / 'shared/data'
GLOVE = SHARED / 'glove/glove.6B.50d.im2txt_vocab.txt.gz'
PUBLISHED = SHARED / 'im2txt_checkpoints/word_counts.txt'

B, T, V, E = 3, 5, 9, 3
COUNTS = {'a': 40, '<S>': 30, '</S>': 30, 'dog': 20, "d'été": 7, '.': 3}
UNKNOWN = len(COUNTS)
START, END = 1, 2
MARKERS = ('<S>', '</S>', '<UNK>')
CONFIG = configuration.ModelConfig(
    encoder='cells', image_height=HEIGHT, image_width=WIDTH, vocab_size=V,
    embedding_size=E, num_lstm_units=7, initializer_scale=0.5,
    decoder_dropout_keep_prob=1.0)


@pytest.fixture(scope='module', autouse=True)
def cells():
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(ENCODERS, 'cells', Cells)
    yield


@pytest.fixture
def vocab_file(tmp_path):
  path = tmp_path / 'word_counts.txt'
  path.write_text(''.join(f'{w} {n}\n' for w, n in COUNTS.items()), 'utf-8')
  return str(path)


@pytest.fixture
def vocab(vocab_file):
  return vocabulary.Vocabulary(vocab_file, *MARKERS)


@pytest.fixture
def write(tmp_path):
  """Write a file of word vectors and return its path."""
  def go(text, name='vectors.txt'):
    data = text if isinstance(text, bytes) else text.encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith('.gz') else data)
    return str(path)
  return go


VECTORS = (
    'the 1 2 3\n'
    "d'été 0.5 -1e-2 3\n"
    '🐕 7 7 7\n'
    'dog 4 5 6\n'
    '. -1 0 1\n'
    'dog 9 9 9\n')


@pytest.mark.parametrize('name', ['vectors.txt', 'vectors.txt.gz'])
@pytest.mark.parametrize('text', [
    VECTORS, VECTORS.rstrip(), VECTORS.replace('\n', '\r\n'),
    VECTORS.replace('\n', ' \n'), '\ufeff' + VECTORS])
def test_vectors_are_read(text, name, vocab, write):
  vectors = word_initialization.read_vectors(write(text, name), vocab)
  assert {i: x.tolist() for i, x in vectors.items()} == {
      4: [0.5, np.float32(-1e-2), 3], 3: [4, 5, 6], 5: [-1, 0, 1]}
  assert {x.dtype for x in vectors.values()} == {np.dtype(np.float32)}


def test_phrases_are_passed_over(vocab, write):
  # glove.840B.300d has such lines; their first words are others' too.
  path = write('a 1 2 3\n. . . 4 4 4\ndog name@domain.com 5 5 5\n. 6 6 6\n')
  vectors = word_initialization.read_vectors(path, vocab)
  assert {i: x.tolist() for i, x in vectors.items()} == {
      0: [1, 2, 3], 5: [6, 6, 6]}


@pytest.mark.parametrize('text, number', [
    ('dog\n', 1),
    ('\n', 1),
    ('the 1 2 3\ndog\n', 2),
    ('the 1 2 3\ndog 1 2\n', 2),
    ('the 1 2 3\ndog 1 2 3 4\n', 2),
    ('the 1 2 3\na 1 2 3\ndog 1 2 x\n', 3),
    ('the 1 2 3\ndog 1 nan 3\n', 2),
    ('the 1 2 3\ndog 1 inf 3\n', 2),
    ('the 1 2 3\ndog  1 2\n', 2),
    ('the\t1\t2\t3\n', 1),
    ('400000 50\nthe 1 2 3\n', 1),  # word2vec's header.
    ('the one two three\n', 1),
])
def test_a_malformed_line_is_named(text, number, vocab, write):
  path = write(text)
  with pytest.raises(ValueError) as error:
    word_initialization.read_vectors(path, vocab)
  assert str(error.value).startswith(f'{path}:{number}: ')
  assert '\n' not in str(error.value)


NO_TEXT = {
    'latin1.txt': VECTORS.replace('🐕', 'x').encode('latin-1'),
    'first.txt': b'\xff\xfe 1 2 3\n',
    'cut_off.gz': gzip.compress(VECTORS.encode())[:20],
    'plain.gz': VECTORS.encode()}


@pytest.mark.parametrize('name', NO_TEXT)
def test_what_is_no_text_is_one_line_that_names_it(name, tmp_path, vocab):
  path = tmp_path / name
  path.write_bytes(NO_TEXT[name])
  reads = [lambda: word_initialization.read_vectors(str(path), vocab)]
  if name != 'latin1.txt':  # Its first line, which has the width, is right.
    reads.append(lambda: word_initialization.find_width(dataclasses.replace(
        CONFIG, word_vectors_file=str(path), embedding_size=0)))
  for read in reads:
    with pytest.raises(ValueError) as error:
      read()
    assert str(path) in str(error.value) and '\n' not in str(error.value)


def test_no_file_of_vectors_is_an_os_error(vocab):
  with pytest.raises(OSError, match='nowhere'):
    word_initialization.read_vectors('nowhere', vocab)


@pytest.mark.parametrize('embedding_size', [0, 3])
def test_the_width_is_that_of_the_file(embedding_size, write):
  config = dataclasses.replace(
      CONFIG, embedding_size=embedding_size, word_vectors_file=write(VECTORS))
  assert word_initialization.find_width(config) == 3


@pytest.mark.parametrize('fields, text, said', [
    ({'embedding_size': 4}, VECTORS, r'vectors\.txt has vectors of 3 numbers, '
     r'but embedding_size is 4; 0 takes what is there$'),
    ({'embedding_size': 0}, 'broken\n', r'vectors\.txt:1: no word and its '),
    ({'embedding_size': 0}, '', r'vectors\.txt:1: no word and its vector'),
    ({'embedding_size': 0}, None, '^embedding_size is 0, the width of the'),
])
def test_widths_that_do_not_fit(fields, text, said, write):
  path = None if text is None else write(text)
  config = dataclasses.replace(CONFIG, word_vectors_file=path, **fields)
  with pytest.raises(ValueError, match=said):
    word_initialization.find_width(config)


def test_vectors_that_are_not_trained_come_from_a_file():
  config = dataclasses.replace(CONFIG, train_word_vectors=False)
  # A checkpoint may have them.
  assert word_initialization.find_width(config) == E
  with pytest.raises(ValueError, match='^train_word_vectors is false, but no '):
    word_initialization.first_values(config, None)


def test_a_width_without_a_file_stays():
  assert word_initialization.find_width(CONFIG) == E


def test_words_that_are_not_found_begin_at_zero_and_are_counted(
    vocab_file, write, caplog):
  path = write(VECTORS)
  with caplog.at_level('INFO'):
    values = word_initialization.first_values(
        dataclasses.replace(CONFIG, word_vectors_file=path), vocab_file)
  assert values.keys() == {'seq_embedding/map'}
  [table] = values.values()
  assert table.shape == (V, E) and table.dtype == np.float32
  np.testing.assert_array_equal(table[3:6], np.float32([
      [4, 5, 6], [0.5, -1e-2, 3], [-1, 0, 1]]))
  assert not table[[0, 1, 2, 6, 7, 8]].any()
  assert (f'{path}: has vectors of 3 of the 7 words; 4 begin at zero'
          in caplog.text)


def test_first_values_need_a_vocabulary_only_if_there_are_any(write):
  assert word_initialization.first_values(CONFIG, None) == {}
  for fields in ({'bias_from_counts': True},
                 {'word_vectors_file': write(VECTORS)}):
    with pytest.raises(ValueError, match='give --vocab_file$'):
      word_initialization.first_values(
          dataclasses.replace(CONFIG, **fields), None)


def test_the_vectors_of_users():
  if not (GLOVE.exists() and PUBLISHED.exists()):
    pytest.skip('shared/data/glove or im2txt_checkpoints is not here')
  config = dataclasses.replace(
      CONFIG, embedding_size=0, word_vectors_file=str(GLOVE))
  assert word_initialization.find_width(config) == 50
  words = vocabulary.Vocabulary(str(PUBLISHED), *MARKERS)
  vectors = word_initialization.read_vectors(str(GLOVE), words)
  assert 10_000 < len(vectors) < len(words)
  assert {x.shape for x in vectors.values()} == {(50,)}

  def likeness(word, other):
    x, y = (vectors[words.word_to_id(w)] for w in (word, other))
    return x @ y / np.linalg.norm(x) / np.linalg.norm(y)

  assert likeness('dog', 'cat') > 0.8 > 0.5 > likeness('dog', 'parliament')


def test_log_frequencies(vocab_file, vocab):
  biases = word_initialization.log_frequencies(vocab_file, vocab, V)
  assert biases.shape == (V,) and biases.dtype == np.float32
  # Neither the start marker, nor outputs 6 (the unknown word) to 8.
  possible = [0, 2, 3, 4, 5]
  np.testing.assert_allclose(
      np.exp(biases[possible]), np.array([40, 30, 20, 7, 3]) / 100, rtol=1e-5)
  assert (np.delete(biases, possible) == BANNED).all()


def test_a_word_that_no_caption_has_is_banned(tmp_path):
  # Padding, which stands in the vocabularies of some captions.
  path = tmp_path / 'word_counts.txt'
  path.write_text('<pad> 0\nstart 5\nend 5\ndog 5\n<unk> 3\n')
  words = vocabulary.Vocabulary(str(path), 'start', 'end', '<unk>')
  biases = word_initialization.log_frequencies(str(path), words, 5)
  np.testing.assert_allclose(
      biases, [BANNED, BANNED, math.log(.5), math.log(.5), BANNED], rtol=1e-6)


def test_a_vocabulary_without_counts_is_one_line(tmp_path):
  path = tmp_path / 'word_counts.txt'
  path.write_text('a 3\n<S>\n</S>\n')
  with pytest.raises(ValueError, match=re.escape(
      f'{path}:2: no count behind the word')):
    word_initialization.log_frequencies(
        str(path), vocabulary.Vocabulary(str(path), *MARKERS), V)


def assign(values):
  """Give variables by name their first values."""
  return [v.assign(values[v.op.name]) for v in tf1.global_variables()
          if v.op.name in values]


def variable(name):
  [found] = [v for v in tf1.global_variables() if v.op.name == name]
  return found


def test_first_loss_of_a_transformer_is_well_below_ln_v(tmp_path):
  # Zipf's law, as captions about have it.
  size, length, captions = 1000, 11, 64
  counts = [10**6 // rank for rank in range(1, size)]
  path = tmp_path / 'word_counts.txt'
  path.write_text(''.join(
      f'{word} {n}\n' for word, n in zip(
          ('a', '<S>', '</S>', *map(str, range(size))), counts, strict=False)))
  config = TransformerConfig(
      decoder='transformer', encoder='cells', image_height=HEIGHT,
      image_width=WIDTH, vocab_size=size, embedding_size=16,
      feed_forward_size=19, bias_from_counts=True)
  values = word_initialization.first_values(config, str(path))
  frequencies = np.array([*counts, 0.0])  # No caption has the unknown word.
  frequencies[START] = 0
  frequencies /= frequencies.sum()
  random = np.random.default_rng(1)
  words = random.choice(size, [captions, length + 1], p=frequencies)
  words[:, 0] = START
  with tf.Graph().as_default(), fresh_session.make() as session:
    tf1.set_random_seed(1)
    outputs = Captioner(config).build(Mode.TRAIN, Batch(
        tf.zeros([captions, HEIGHT, WIDTH, 3]), tf.constant(words[:, :-1]),
        tf.constant(words[:, 1:]), tf.ones([captions, length], tf.int32),
        tf.range(captions)))
    session.run(tf1.global_variables_initializer())
    plain = session.run(outputs.caption_loss.mean)
    session.run(assign(values))
    loss = session.run(outputs.caption_loss.mean)
  guess = -(frequencies[frequencies > 0]
            * np.log(frequencies[frequencies > 0])).sum()
  assert plain == pytest.approx(math.log(size), abs=0.3)
  # By about the gap of an even guess to one by frequency.
  assert loss < math.log(size) - 1.0, (
      f'first loss {loss:.3f}; ln V is {math.log(size):.3f}, the entropy of '
      f'the frequencies {guess:.3f}')
  assert loss == pytest.approx(guess, abs=0.3)


def test_banned_words_are_never_said(vocab_file, vocab):
  config = dataclasses.replace(CONFIG, bias_from_counts=True)
  values = word_initialization.first_values(config, vocab_file)
  # All else speaks for them.
  weights = np.full([7, V], -9.0, np.float32)
  weights[:, [START, UNKNOWN, 7, 8]] = 9.0
  values['logits/weights'] = weights
  with tf.Graph().as_default(), fresh_session.make() as session:
    tf1.set_random_seed(1)
    decoder, memory, _ = Captioner(config).connect(
        tf.random.uniform([5, HEIGHT, WIDTH, 3], -1.0, 1.0))
    rules = Rules(vocab, 12)
    found = [sampling.greedy(decoder, memory, rules),
             beam_search.beam_search(
                 decoder, memory, rules, beam_search.Options(4)),
             sampling.sample(
                 decoder, memory, rules, sampling.SamplingOptions(50, 2.0))]
    step = Captioner(config).build_step()
    session.run(tf1.global_variables_initializer())
    session.run(assign(values))
    for captions in session.run(found):
      said = captions.sentences[..., 1:]
      assert not np.isin(said, [START, UNKNOWN, 7, 8]).any()
      assert (captions.log_probabilities[:, 0] > -99.0).all()
    # What the step-by-step search is told.
    softmax = session.run(step.softmax, {
        step.input_feed: np.arange(V), step.state_feed: np.random.default_rng(
            1).normal(size=[V, 14])})
  assert not softmax[:, [START, UNKNOWN, 7, 8]].any()
  np.testing.assert_allclose(softmax.sum(1), 1.0, rtol=1e-5)


def build_training(config, words, mask):
  """Training's outputs of captions of grey images."""
  batch = Batch(
      tf.fill([B, HEIGHT, WIDTH, 3], 0.5), tf.constant(words[:, :-1]),
      tf.constant(words[:, 1:]), tf.constant(mask, tf.int32), tf.range(B))
  return Captioner(config).build(Mode.TRAIN, batch)


def test_the_unknown_word_is_read_but_not_trained_on(vocab_file):
  config = dataclasses.replace(CONFIG, bias_from_counts=True)
  values = word_initialization.first_values(config, vocab_file)
  words = np.random.default_rng(1).choice([0, 2, 3, 4, 5], [B, T + 1])
  words[0, 3] = words[2, 1] = UNKNOWN
  # As if these targets were padding; what is read stays, for an LSTM reads
  # padding too.
  without = np.ones([B, T])
  without[0, 2] = without[2, 0] = 0
  found = []
  for mask in (np.ones([B, T]), without):
    with tf.Graph().as_default(), fresh_session.make() as session:
      tf1.set_random_seed(1)
      outputs = build_training(config, words, mask)
      gradients = [tf.convert_to_tensor(g) for g in tf.gradients(
          outputs.total_loss, tf1.trainable_variables())]
      step, _ = optimization.train_op(
          configuration.TrainingConfig(optimizer='Adam'), outputs.total_loss,
          tf.constant(0.1))
      session.run(tf1.global_variables_initializer())
      session.run(assign(values))
      found.append(session.run([outputs.caption_loss, gradients]))
      session.run(step)
      biases = session.run(variable('logits/biases'))
    assert (biases[[START, UNKNOWN, 7, 8]] == BANNED).all()
    assert (biases[[0, 2, 3, 4, 5]] != values['logits/biases'][
        [0, 2, 3, 4, 5]]).all()
  for ours, theirs in zip(*map(tf.nest.flatten, found), strict=True):
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
  assert found[0][0].weights.sum() == B * T - 2


@pytest.mark.parametrize('trained', [True, False])
@pytest.mark.parametrize('optimizer', ['SGD', 'Adam', 'AdamW'])
def test_word_vectors_can_be_left_as_they_are(
    trained, optimizer, vocab_file, write):
  config = dataclasses.replace(
      CONFIG, word_vectors_file=write(VECTORS), train_word_vectors=trained)
  values = word_initialization.first_values(config, vocab_file)
  words = np.random.default_rng(1).integers(0, 6, [B, T + 1])
  with tf.Graph().as_default(), fresh_session.make() as session:
    outputs = build_training(config, words, np.ones([B, T]))
    names = {v.op.name for v in tf1.trainable_variables()}
    assert ('seq_embedding/map' in names) is trained
    step, _ = optimization.train_op(
        configuration.TrainingConfig(
            optimizer=optimizer, ema_decay=0.5,
            weight_decay=0.1 if optimizer == 'AdamW' else 0.0),
        outputs.total_loss, tf.constant(0.1))
    session.run(tf1.global_variables_initializer())
    session.run(assign(values))
    both = [variable('logits/weights'), variable('seq_embedding/map')]
    before, _ = session.run(both)
    session.run(step)
    after, table = session.run(both)
  assert (after != before).any()
  assert (table != values['seq_embedding/map']).any() == trained


@pytest.fixture
def vectors_of_task(tmp_path):
  """9 wide, of `red`, `square` and a word that the task does not have."""
  path = tmp_path / 'vectors.txt.gz'
  lines = [f'{word} {" ".join(map(str, range(n, n + 9)))}\n'
           for n, word in enumerate(('zebra', 'red', 'square'))]
  path.write_bytes(gzip.compress(''.join(lines).encode()))
  return path


@pytest.mark.long
def test_training_begins_with_them(
    launch_train, caption, images, read_checkpoint, vectors_of_task,
    tmp_path):
  finished = launch_train(
      f'--config.model.word_vectors_file={vectors_of_task}',
      '--config.model.embedding_size=0',
      '--noconfig.model.train_word_vectors', '--config.model.bias_from_counts',
      '--number_of_steps=2')
  assert finished.returncode == 0, finished.stderr
  assert 'has vectors of 2 of the 17 words; 15 begin at zero' in (
      finished.stderr)
  values = read_checkpoint(tmp_path / 'run/model.ckpt-2')
  expected = np.zeros([17, 9], np.float32)
  expected[WORDS.index('red')] = np.arange(1, 10)
  expected[WORDS.index('square')] = np.arange(2, 11)
  np.testing.assert_array_equal(values['seq_embedding/map'], expected)
  assert not any(name.startswith('optimizer/seq_embedding')
                 for name in values)
  biases = values['logits/biases']
  assert (biases[[WORDS.index('<S>'), 16]] == BANNED).all()
  # Two steps of Adam at .01 after the log frequencies of 99, 98, ... .
  counts = np.array([99 - i for i in range(16) if WORDS[i] != '<S>'])
  np.testing.assert_allclose(
      np.delete(biases, [WORDS.index('<S>'), 16]),
      np.log(counts / counts.sum()), atol=0.03)
  # The run folder says all that captioning needs.
  vectors_of_task.unlink()
  captioned = caption(tmp_path / 'run', images / '*')
  assert captioned.returncode == 0, captioned.stderr
  assert captioned.stdout.count('0) ') == 3
  assert '<UNK>' not in captioned.stdout and '<S>' not in captioned.stdout


def test_vectors_of_another_width_are_one_line(
    launch_train, vectors_of_task):
  finished = launch_train(
      f'--config.model.word_vectors_file={vectors_of_task}')
  assert finished.returncode == 1
  assert finished.error == (
      f'train: error: {vectors_of_task} has vectors of 9 numbers, but '
      'embedding_size is 7; 0 takes what is there')
