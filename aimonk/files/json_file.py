"""JSON files of other programs."""

import gc
import json
from collections import Counter
from pathlib import Path
from typing import Any

from aimonk.files.delimited import decode, read_bytes


def read_json(path: Path, kind: str) -> Any:
    """The content of a UTF-8 JSON file.

    Args:
        kind: What the file is, for the error message, such as `label file`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not JSON, an object has a key twice, or values are nested too deeply.
    """
    text = decode(path, read_bytes(path, kind))
    # the garbage collector would look through all values again and again: twice the time
    collected = gc.isenabled()
    gc.disable()
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        fix = "the file is incomplete or damaged; export it again"
        raise ValueError(f"{path} line {error.lineno}: not JSON ({error.msg}); {fix}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {f'{error}'[:200]}; expected a {kind}") from None
    finally:
        if collected:
            gc.enable()


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        JSONDecodeError: It is not JSON.
        ValueError: An object has a key twice, values are nested too deeply, or an integer is very long.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except RecursionError:
        raise ValueError("the values are nested too deeply") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # json would keep the last value without a word
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"an object has the key {twice[:80]!r} twice; expected unique keys")
    return found
