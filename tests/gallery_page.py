"""What an HTML page of captioned images holds."""

import html.parser


class Page(html.parser.HTMLParser):
  """Cards, and every tag with its attributes, of a page."""

  def __init__(self, source):
    super().__init__()
    self.tags, self.cards, self._open = [], [], []
    self.feed(source)
    self.close()
    assert not self._open, f'not closed: {self._open}'

  def handle_starttag(self, tag, attrs):
    attributes = dict(attrs)
    assert len(attributes) == len(attrs), attrs
    self.tags.append((tag, attributes))
    if tag == 'figure':
      self.cards.append({'captions': [], 'in print': [], 'bars': [],
                         'weights': [], 'figure': attributes})
    elif tag == 'img':
      assert 'image' not in self.cards[-1]
      self.cards[-1]['image'] = attributes
    elif tag == 'i':
      self.cards[-1]['bars'].append(attributes['style'])
    elif tag == 'ol':
      self.cards[-1]['list'] = attributes
    elif attributes.get('class') == 'text':
      self.cards[-1]['weights'].append(
          (attributes.get('data-grid'), attributes.get('data-weights')))
    elif attributes.get('class') == 'name':
      self.cards[-1]['title'] = attributes['title']
    if tag not in ('meta', 'img', 'input'):
      self._open.append((tag, attributes.get('class')))

  def handle_endtag(self, tag):
    assert self._open.pop()[0] == tag

  def handle_data(self, data):
    if not self._open:
      return
    tag, kind = self._open[-1]
    if kind == 'text':
      self.cards[-1]['captions'].append(data)
    elif tag == 'small':
      self.cards[-1]['in print'].append(data)
    elif kind in ('name', 'error'):
      self.cards[-1][kind] = data
