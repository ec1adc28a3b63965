import base64
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from PIL import Image

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


class PageParser(HTMLParser):
    """Tags with their attributes, and the text in reading order."""

    def __init__(self, content: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.read: list[str] = []
        self.within: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        self.within.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self.within.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if data.strip() and not {"title", "style"} & set(self.within):
            self.read.append(data.strip())


@pytest.fixture(scope="session")
def hostile() -> str:
    """A name that runs a script in a page that does not escape it."""
    return HOSTILE


@pytest.fixture(scope="session")
def parse_page() -> Callable[[str], PageParser]:
    """Parses a page, and checks that it runs no script and makes no request."""

    def parse(content: str) -> PageParser:
        assert not re.search(r"https?:", content)
        page = PageParser(content)
        tags = {tag for tag, _ in page.tags}
        assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base"}
        for tag, attributes in page.tags:
            assert not any(name.startswith("on") for name in attributes), (tag, attributes)
            # links to image files beside the page; without a colon, an address has no scheme
            assert "href" not in attributes or (tag == "a" and ":" not in attributes["href"])
            assert "srcset" not in attributes
            if "src" in attributes:
                kind, data = re.fullmatch(r"data:image/(png|jpeg);base64,(.+)", attributes["src"]).groups()
                with Image.open(io.BytesIO(base64.b64decode(data))) as image:
                    assert image.format == kind.upper()
                    image.load()
        policies = [a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
        assert len(policies) == 1 and policies[0].startswith("default-src 'none';")
        assert "script-src" not in policies[0], "script-src falls back to none"
        assert "<img src=x" not in content and "<script" not in content
        assert not set(content) & {"\u202e", "\x1b", "\0", "\udcff"}
        return page

    return parse
