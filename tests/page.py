"""A page as a browser's parser sees it: what tests of reports look at."""

from collections import Counter
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "wbr", "path", "rect", "use"}


class Page(HTMLParser):
    """Collects tags, attributes and text, and insists that every element is closed where it should be."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], Counter(), [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def of(self, name):
        """Return every value of an attribute."""
        return [value for key, value in self.attributes if key == name]
