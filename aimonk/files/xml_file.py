"""XML files of other programs, in which entities are refused."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from aimonk.files.delimited import read_bytes


def read_xml(path: Path, kind: str, limit_mb: float) -> Element:
    """The root of an XML file.

    Args:
        kind: What the file is, for the error message, such as `annotation`.
        limit_mb: Size above which a file is refused, since its tree takes several times the memory.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not XML, defines entities, or is too large.
    """
    if path.is_file() and path.stat().st_size > limit_mb * 1e6:
        size = path.stat().st_size / 1e6
        raise ValueError(f"{path} has {size:,.0f} MB; expected at most {limit_mb:g} MB")
    try:
        return defusedxml.ElementTree.fromstring(read_bytes(path, kind))
    except ParseError as error:
        raise ValueError(_describe(path, error)) from None
    except DefusedXmlException:
        raise ValueError(
            f"{path}: the file defines entities, which are refused; remove its DOCTYPE"
        ) from None
    except (ValueError, LookupError) as error:  # of encodings
        raise ValueError(f"{path}: not XML ({f'{error}'[:80]}); save the file as UTF-8") from None


def iterate_xml(path: Path, kind: str) -> Iterator[Element]:
    """The root of an XML file without children, then each child, of which one at a time is in memory.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not XML, or has a document type or entities.
    """
    if not path.is_file():
        hint = "; it is a folder" if path.is_dir() else ""
        raise FileNotFoundError(f"no {kind} at {path.absolute()}{hint}")
    root, depth = None, 0
    try:
        for event, element in defusedxml.ElementTree.iterparse(path, ("start", "end"), forbid_dtd=True):
            depth += 1 if event == "start" else -1
            if root is None:
                root = element
                yield root
            elif event == "end" and depth == 1:
                yield element
                root.clear()
    except ParseError as error:
        raise ValueError(_describe(path, error)) from None
    except DefusedXmlException:
        raise ValueError(f"{path}: the file defines entities; expected a {kind} without them") from None
    except (ValueError, LookupError) as error:  # of encodings
        raise ValueError(f"{path}: not XML ({f'{error}'[:80]}); save the file as UTF-8") from None


def _describe(path: Path, error: ParseError) -> str:
    line, cause = error.position[0], f"{error}".partition(":")[0]
    return f"{path} line {line}: not XML ({cause}); the file is incomplete or damaged; export it again"
