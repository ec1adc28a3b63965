"""Self-contained pages: no requests, no scripts but those of this package, light or dark, printable."""

import base64
import hashlib
import io
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from aimonk.files.text import printable
from aimonk.report.tables import short

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, script: str | None = None, **values: Any) -> str:
    """A page from a template of this package; every value is made printable and escaped.

    Args:
        script: A file of this package, the only script that the page's policy allows.
    """
    from markupsafe import Markup

    code = "" if script is None else read_script(script)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return environment().get_template(template).render(values, script=Markup(code), script_hash=digest)


def read_script(name: str) -> str:
    """A script of this package."""
    return (files("aimonk.report.html") / "templates" / name).read_text(encoding="utf-8")


@cache
def environment() -> "Environment":
    """Templates in which an undefined value is an error."""
    # only a command that writes a page loads jinja2
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("aimonk.report.html"),
        autoescape=True,
        finalize=make_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"short": short, "thousands": "{:,}".format}
    return environment


def make_printable(value: Any) -> str:
    """The printable text of a value in a template; the output of macros passes unchanged."""
    if hasattr(value, "__html__"):
        return value
    text = f"{value}"
    return text if text.isprintable() else printable(text)


def data_uri(content: bytes, kind: str) -> str:
    """The URI that contains an image."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def embed(pixels: np.ndarray) -> str:
    """The URI that contains uint8 pixels [H, W, 3] as a small JPEG."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=72)
    return data_uri(content.getvalue(), "jpeg")
