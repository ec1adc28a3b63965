"""XML files of other programs, in which entities are refused."""

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
        line, cause = error.position[0], f"{error}".partition(":")[0]
        fix = "the file is incomplete or damaged; export it again"
        raise ValueError(f"{path} line {line}: not XML ({cause}); {fix}") from None
    except DefusedXmlException:
        raise ValueError(
            f"{path}: the file defines entities, which are refused; remove its DOCTYPE"
        ) from None
    except (ValueError, LookupError) as error:  # of encodings
        raise ValueError(f"{path}: not XML ({f'{error}'[:80]}); save the file as UTF-8") from None
