"""A strict reader of HTML pages, for tests of what they hold."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "path", "circle"}


class Page(HTMLParser):
    """Collects elements and text, and refuses tags that do not nest."""

    def __init__(self, content):
        super().__init__()
        self.elements = []  # (tag, attributes)
        self.text = ""
        self._open = []
        self.feed(content)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.text += f"{data} "

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def check_self_contained(page):
    """No script, no handler of events, and no address of anything outside of the page."""
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "data", "action"):
            address = attributes.get(name, "data:image/png;base64,")
            assert address.startswith(("data:image/png", "data:audio/wav"))


def check_accessible(page):
    """Pictures have texts, tables have headers and captions, and headings follow each other."""
    assert page.all("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in page.all("img"))
    assert all(player["aria-label"] for player in page.all("audio"))
    assert all(header["scope"] in ("col", "row") for header in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    for drawing in page.all("svg"):
        assert drawing.get("aria-hidden") == "true" or drawing["aria-label"]
    assert len(page.all("h1")) == 1
