"""Figures as PNG files."""

import io
import warnings
from pathlib import Path

from matplotlib.figure import Figure

from aimonk.files.atomic import replacing


def save(figure: Figure, path: Path) -> bytes:
    """Write a figure as PNG and return the file's content."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        # a letter that no installed font has becomes a box
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(content, format="png")
    with replacing(path) as file:
        file.write(content.getvalue())
    return content.getvalue()
