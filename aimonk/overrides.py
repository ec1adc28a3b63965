"""Command-line arguments made safe for Hydra's grammar."""

import os
import re
from collections.abc import Sequence

# keys whose value is a path; Hydra would read commas, brackets, quotes or letters outside ASCII in it as grammar
PATHS = re.compile(
    r"^\+{0,2}(image|checkpoint|output|predictions|resume|cache_dir|backbone\.weights"
    r"|data\.(?:images|labels|splits)|hydra\.(?:run|sweep)\.dir)=(.+)$",
    re.DOTALL,
)


def quote_paths(arguments: Sequence[str]) -> list[str]:
    """Quote the values of arguments that name paths, unless they are quoted already.

    A path that exists is always taken as it is. One that does not is quoted where Hydra could not read it anyway.
    """
    sweep = any(argument in ("-m", "--multirun") for argument in arguments)
    return [_quote(argument, sweep) for argument in arguments]


def _quote(argument: str, sweep: bool) -> str:
    match = PATHS.match(argument)
    if match is None:
        return argument
    value = match[2]
    key = argument[: -len(value)]
    if os.path.lexists(value):
        return f"{key}'{_escape(value, literal=True)}'"
    quoted = value[0] in "'\"" and value[-1] == value[0] and len(value) > 1
    if quoted or sweep or value == "null":
        return argument
    return f"{key}'{_escape(value, literal=not key.startswith('hydra.'))}'"


def _escape(value: str, literal: bool) -> str:
    value = re.sub(r"(\\*)'", lambda m: m[1] * 2 + "\\'", value)
    value = re.sub(r"(\\+)$", lambda m: m[1] * 2, value)  # a backslash before the closing quote
    return value.replace("${", "\\${") if literal else value
