r"""The Penn Treebank tokenizer of COCO's evaluation, without Java.

COCO's evaluation (coco-caption) gives captions to Stanford's PTBTokenizer
3.4.1 (`-preserveLines -lowerCase`), which splits them as the Penn Treebank
does, and then removes punctuation. This module does the same to captions. Its
lists of abbreviations, sentence beginnings, file types and character classes
were found by running that program.

Known differences:
* after a single letter at the end of a line, a full stop is always the end of
  the sentence and removed, whatever the next line begins with;
* what hardly occurs in captions is split differently: swear words with
  asterisks, emoticons in brackets such as (^^), numerals and combining marks of
  scripts other than Latin, and words without a space between them and
  addresses, markup or abbreviations.
"""

import re
from collections.abc import Iterator

_APOS = "['’\x92]"
_APOS_ETC = "['’\x92`‘\x91‛]"
_SPACE = '[ \t\xa0\u2000-\u200a\u3000]'
_BREAK = r'[ \t\xa0\u2000-\u200a\u3000\n\v\f\r\x85\u2028\u2029]'
# A letter is any character outside these ranges of punctuation and symbols.
# (The units K and Å, U+212A and U+212B, are left out of the ranges: ignoring
# case, they would also exclude k and å.)
_NO_LETTER = (r'\0-/:-@[-`{-©«¬®-´¶-¹»-¿×÷\u2000-\u2129\u212c-\u2bff'
              r'\u3000-\u303f\ud7ff-\U0010ffff')
_LETTER = f'[^0-9{_NO_LETTER}]'
_ALNUM = f'[^{_NO_LETTER}]'
_WORD = f'{_LETTER}{_ALNUM}*(?:[.!?]{_LETTER}{_ALNUM}*)*'
_NUMBER = r'(?:\d*(?:[.:,]\d+)+|\d+)'
_PART = rf'(?:[dol]{_APOS_ETC}{_ALNUM})?(?:{_ALNUM}+|\d+(?:[.:,]\d+)+)'
_COMPOUND = f'{_PART}(?:[-_‐‑]{_PART})*'
_HYPHENATED = (r'[a-z0-9][a-z0-9.,\xad]{0,99}'
               r'(?:-(?:[a-z](?:\.[a-z])+\.|[a-z0-9\xad]+))+')
_INITIALS = r'[a-z](?:\.[a-z])*'  # U.S., p.m.
_TAG = '[a-z][a-z0-9_:.-]*'
_ATTRIBUTE = (
    rf' {{1,99}}{_TAG}(?: {{0,99}}= {{0,99}}'
    rf"(?:{_TAG}|'[^']{{0,999}}'|\"[^\"]{{0,999}}\"))?")
_LINE_NUMBER = r'\d{3,4}[- \xa0]?\d{3,5}'  # Of a telephone number.
_IN_ADDRESS = r'[^\s"<>|(){}]'
_ENDS_ADDRESS = r'[^\s"<>|(){}.!?,-]'
_IN_HOST = r'[^\s"<>|(){}.!?,/]'

# A full stop is part of these abbreviations; of those in the second list if
# they begin with a capital, of those in the last one before a number only.
_CAPITAL = '(?=(?-i:[A-Z]))'
_ABBREVIATIONS = (
    'al|ala|apr|ariz|assn|aug|bancorp|bhd|bldg|blvd|bros|calif|co|colo|conn|'
    'corp|cos|ct|dak|dec|esq|est|etc|ext|feb|fla|fri|ga|inc|ind|intl|jan|jr|'
    'jul|jun|kan|kans|ky|ltd|mar|md|mich|minn|mo|mon|mont|neb|nev|nov|oct|okla|'
    'penn|plc|pte|ptes|pty|ptys|rd|rt|sep|sept|seq|sq|sr|sys|tel|tenn|thu|'
    'thurs|tue|tues|univ|va|vt|wed|wis|wisc|wyo')
_CAPITAL_ABBREVIATIONS = (
    f'{_CAPITAL}(?:ark|az|del|ill|la|mass|miss|ore|pa|tex|wash)')
_TITLES = (
    r'(?:ed|ph)\.d|adj|adm|adv|alex|asst|assoc|atty|attys|ave|brig|capt|cf|'
    'cie|cmdr|col|comdr|cpl|dept|det|dr|drs|elec|ens|ft|gen|gov|govs|hon|'
    'insp|invt|jos|lieut|lt|maj|messrs|mfg|mlle|mme|mr|mrs|ms|msgr|mt|mtg|'
    'natl|pfc|ph|pres|prof|profs|pvt|rep|reps|rev|sen|sens|sfc|sgt|spc|st|'
    'ste|supt|supts|treas|vs|wm')
_BEFORE_NUMBERS = 'art|ca|figs?|nos?|op|pp|prop'
# Before these words, the full stop of a single letter ends a sentence.
_BEGINNINGS = (
    f'{_CAPITAL}(?:about|according|additionally|after|an?|as|at|but|earlier|'
    'he|her|here|however|if|in|it|last|many|more|now|once|one|other|our|she|'
    'since|so|some|such|that|the|their|then|there|these|they|this|we|what|when|'
    r'while|yet|you|mr\.)')
_FILE_TYPES = (
    'bat|bmp|c|cgi|class|cpp|dll|docx?|exe|gif|gz|html?|h|jar|java|jpe?g|mov|'
    'mp3|pdf|php|pl|png|ppt|ps|py|sql|tar|txt|wav|xml|x|zip')

# The one group of a rule is the token. The rule with the longest match applies,
# its lookahead after the token counted; of equally long ones the first.
# Repetitions that could run to the end of the text have limits, which keep the
# time linear.
_RULES = [re.compile(rule, re.IGNORECASE) for rule in (
    # Two words written as one.
    '(can)not', '(gon|wan)na', '(got)ta', '(lem|gim)me', "('t)(?:is|was)",
    # Markup.
    rf'(</?{_TAG} {{0,99}}>|'
    rf'<{_TAG}(?:{_ATTRIBUTE})* {{0,99}}/? {{0,99}}>)',
    '(<[!?][a-z-][^>]{0,999}>)',
    '([–—―\x96\x97]|&(?:amp|lt|gt|quot|apos);)',
    # Words, and words before `'s`, `n't`.
    rf'({_WORD}){_APOS}(?:[msd]|re|ve|ll)',
    rf'([a-z\xad]*[a-mo-z]\xad*)n{_APOS_ETC}t',
    f'({_WORD})',
    # Words with apostrophes.
    rf'({_APOS}n{_APOS}?|(?:[djl]|dunkin|ol|somethin){_APOS}|{_APOS}em|'
    rf'(?:(?-i:[A-HJ-XZ])|n){_APOS_ETC}{_LETTER}{{2,}}|{_APOS}[2-9]0s|'
    rf'{_APOS}till?|{_LETTER}+[aeiouy]{_APOS}(?-i:[aeiouA-Z]){_LETTER}*|'
    rf"{_APOS}cause|cap{_APOS}n|c{_APOS}est|c'mon|cont'd\.?|e'er|ev'ry|"
    "li'l|nat'l|nor'easter|s'mores|'twas)",
    rf'(y{_APOS}){_LETTER}',
    rf'({_APOS}(?:[msd]|re|ve|ll)|n{_APOS_ETC}t)[^a-z]',
    # Addresses.
    rf'(https?://{_IN_ADDRESS}{{1,999}}{_ENDS_ADDRESS})',
    rf'((?:www\.(?:{_IN_HOST}{{1,99}}\.){{1,9}}[a-z]{{2,4}}|'
    r"(?!\d)(?:[^\s\"<>|(){}.!?,:;=/@'’`[_$-]{1,99}\.){1,9}"
    r'(?:com|net|org|edu))'
    rf'(?:/{_IN_ADDRESS}{{1,999}}{_ENDS_ADDRESS})?)',
    rf'(<?[a-z0-9]{_IN_ADDRESS}{{0,99}}@(?:[^\s"<>|(){{}}.]{{1,99}}\.){{0,9}}'
    r'[^\s"<|(){}.]{1,99})',
    f'(@[a-z_][a-z0-9_]*|#{_LETTER}+)',
    # Numbers.
    r'(\d{1,2}[-/]\d{1,2}[-/]\d{2,4})',
    rf'([-+]?{_NUMBER})',
    r'((?:\d{1,4}[- \xa0])?\d{1,4}(?:\\?/|⁄)\d{1,4})',
    rf'(\(\d{{2,3}}\)[ \xa0]?{_LINE_NUMBER}|'
    rf'\+{{0,2}}(?:\d{{2,4}}[- \xa0]){{1,2}}{_LINE_NUMBER}|'
    r'(?:\+{0,2}\d{2,4}\.)?\d{2,4}\.\d{3,4}\.\d{3,5})',
    rf'({_APOS}\d\d){_BREAK}',
    r'((?-i:[A-Z]{0,9})\$)',
    r'([a-z0-9]+(?:-[a-z]+){0,2}(?:\\?/[a-z0-9]+(?:-[a-z]+){0,2}){1,2})',
    # Full stops that are part of a word, and one that is not.
    rf'([a-z])\.(?:{_SPACE}+{_BEGINNINGS}[ \t\n?]|{_SPACE}*\n)',
    rf'((?:{_BEFORE_NUMBERS})\.){_BREAK}?\d',
    rf'((?:{_ABBREVIATIONS}|{_CAPITAL_ABBREVIATIONS}|{_TITLES}|{_INITIALS})\.)',
    rf'((?:{_ABBREVIATIONS}|{_CAPITAL_ABBREVIATIONS})\.){_LETTER}[^\w-]',
    rf'((?:{_WORD}|{_HYPHENATED}|{_COMPOUND})\.)[,;:]',
    rf'((?:[a-z0-9]+\.)+(?:{_FILE_TYPES}))(?:{_BREAK}|[.?!,])',
    # Marks.
    r"([<>]?[:;=][-o*']?(?-i:[]()DdPpO\\{@|[]))[^a-z0-9]",
    "((?-i:[-^x=~<>']_[-^x=~<>']))",
    r'(-[lr][rcs]b-|[][{}()]|-+)',
    r'(\.\.+\.|[\x85…]|\.[ \xa0](?:\.[ \xa0])+\.)',
    r'(@+|\#+|_+|\*+|[?!]+|<<|>>|[.,;:¡¿=/<>])',
    # Words with hyphens.
    f'({_COMPOUND})',
    f'({_HYPHENATED})[^a-z0-9+]',
    r'((?-i:[A-Z]+(?:(?:[+&]|(?i:&amp;))[A-Z]+)+))',
    # Quotes, after words with an apostrophe, which win if as long.
    r"""("|''|')""",
    rf"('{{1,2}}|`{{1,2}}){_LETTER}[^ \n]",
    r"('{1,2}|`{1,2})[aiu][ \n]",
    rf'({_APOS}(?:[msd]|re|ve|ll)|n{_APOS_ETC}t)',
    "([`’‘\x91-\x94“”‛«»‹›]{1,2})",
    r'([cf]\#|c\+\+)',
    r'([+%&~^|\\„‚‟¢-©¬®-´¶-¹¼-¾×÷†-•‰′-‸‼-⁄⁰-₎₠€℀-⯿])',
)]
# A fast path for most of a caption: plain words that no other rule matches.
_PLAIN = re.compile(
    r'[.,]?[ \n]+|[.,](?=[a-z])|(?!cannot|gonna|wanna|gotta|lemme|gimme)'
    rf'([a-z]+(?=,?[ \n])|(?!(?:{_ABBREVIATIONS}|{_CAPITAL_ABBREVIATIONS}|'
    rf'{_TITLES}|{_BEFORE_NUMBERS}|[a-z])\.)[a-z]+(?=\.[ \n]))', re.IGNORECASE)
_LINE_ENDS = re.compile('[\n\v\f\r\x85\u2028\u2029]')
_QUOTES = re.compile(
    rf'["\'`‘’“”‛«»‹›\x91-\x94]+|{_APOS}(?:[msd]|re|ve|ll)|n{_APOS_ETC}t')
_STRAIGHT = str.maketrans({
    '‘': '`', '‛': '`', '‹': '`', '\x91': '`', '’': "'", '›': "'", '\x92': "'",
    '“': '``', '«': '``', '\x93': '``', '”': "''", '»': "''", '\x94': "''",
    '"': "''"})
_SPELT = str.maketrans(
    {'(': '-lrb-', ')': '-rrb-', '\xad': '', ' ': '\xa0'})
_NAMES = {
    '[': '-lsb-', ']': '-rsb-', '{': '-lcb-', '}': '-rcb-', '¼': '1/4',
    '½': '1/2', '¾': '3/4', '⅓': '1/3', '⅔': '2/3', '€': '$', '₠': '$',
    '¤': '$', '£': '#', '¢': 'cents'}
_ENTITIES = {'&amp;': '&', '&lt;': '<', '&gt;': '>', '&quot;': "''",
             '&apos;': "'"}
_LONG = re.compile(r'(\.[. \xa0]*\.|[…\x85])|---?-?|[–—―\x96\x97]')
_PUNCTUATION = frozenset(
    ["''", "'", '``', '`', '.', '?', '!', ',', ':', '-', '--', '...', ';'])


def tokenize(caption: str) -> list[str]:
  """Return the caption's words in lower case, without punctuation."""
  # Rules may require a line end after a token.
  return list(_words(_LINE_ENDS.sub(' ', caption) + '\n'))


def _words(line: str) -> Iterator[str]:
  at = 0
  while at < len(line):
    match = _PLAIN.match(line, at)
    if match:
      at = match.end()
      if match[1]:
        yield match[1].lower()
      continue
    found = [match for rule in _RULES if (match := rule.match(line, at))]
    if not found:
      at += 1
      continue
    token = max(found, key=re.Match.end)[1]
    at += len(token)
    word = _spelling(token.lower())
    if word and word not in _PUNCTUATION:
      yield word


def _spelling(token: str) -> str:
  """Return the token as the Penn Treebank writes it."""
  if _QUOTES.fullmatch(token):
    return token.translate(_STRAIGHT)
  if long := _LONG.fullmatch(token):
    return '...' if long[1] else '--'
  for entity, character in _ENTITIES.items():
    token = token.replace(entity, character)
  return _NAMES.get(token) or token.translate(_SPELT)
