"""Reading our own pages in tests: what is in them, what they would load, and the pictures that they hold."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

import numpy as np
from PIL import Image as Pictures

WEBP = "data:image/webp;base64,"


class Tags(HTMLParser):
    """Every start tag with its attributes, and the text that is shown."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each tag of this name."""
        return [attributes for name, attributes in self.found if name == tag]


def loads_nothing(page: Tags) -> None:
    """Pictures are in the page, and its policy forbids everything else."""
    sources = [attributes.get("src") or attributes.get("href") for _, attributes in page.found]
    assert all(source is None or source.startswith(WEBP) for source in sources)
    policy = [attributes.get("content") or "" for attributes in page.of("meta")]
    assert any(one.startswith("default-src 'none'") for one in policy)


def opened(address: str) -> Pictures.Image:
    return Pictures.open(io.BytesIO(base64.b64decode(address.removeprefix(WEBP))))


def picture(address: str) -> np.ndarray:
    return np.asarray(opened(address).convert("RGB"))
