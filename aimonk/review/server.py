"""The page's server: static files, images by index, and the changes of labels."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aimonk.review.desk import Desk
from aimonk.review.label_file import ChangedFile
from aimonk.review.pictures import MAX_BYTES, TooLarge
from aimonk.review.queues import QUEUES
from aimonk.review.session import VALUES, Conflict, Edit

PAGE = Path(__file__).with_name("page")
FILES = {"/": ("index.html", "text/html"), "/page.css": ("page.css", "text/css")}
SCRIPTS = ("page.js", "attributes.js", "labels.js", "list.js", "picture.js", "score.js")
FILES |= {f"/{name}": (name, "text/javascript") for name in SCRIPTS}
MAX_REQUEST = 4 * 2**20  # bytes of a request with edits
MAX_EDITS = 20_000


def create_app(desk: Desk) -> Starlette:
    """All routes; the guard that protects them is separate."""

    def file(request: Request) -> Response:
        name, kind = FILES[request.url.path]
        return Response((PAGE / name).read_bytes(), media_type=kind, headers={"cache-control": "no-cache"})

    def thumbnail(request: Request) -> Response:
        return jpeg(desk.pictures.thumbnail(row_of(request)))

    def picture(request: Request) -> Response:
        return jpeg(desk.pictures.large(row_of(request)))

    def row_of(request: Request) -> int:
        row = request.path_params["row"]
        if not 0 <= row < len(desk.session.names):
            raise HTTPException(404, "no such image")
        return row

    def start(request: Request) -> Response:
        return to_json(desk.start())

    def state(request: Request) -> Response:
        return to_json(desk.state(number(request, "since")))

    def queue(request: Request) -> Response:
        name = request.query_params.get("name", "")
        if name not in QUEUES:
            raise HTTPException(400, f"name is {name[:80]!r}; expected {', '.join(QUEUES)}")
        return to_json(desk.queue(name))

    def image(request: Request) -> Response:
        return to_json(desk.image(row_of(request)))

    def heat(request: Request) -> Response:
        return to_json(desk.heat(row_of(request)))

    async def edit(request: Request) -> Response:
        client, edits, reviewed = read_edits(await body(request, MAX_REQUEST), desk)
        return to_json(await run_in_threadpool(desk.edit, client, edits, reviewed))

    async def undo(request: Request) -> Response:
        content = parse(await body(request, MAX_REQUEST))
        return to_json(await run_in_threadpool(desk.undo, client_of(content)))

    async def save(request: Request) -> Response:
        content = parse(await body(request, MAX_REQUEST))
        return to_json(await run_in_threadpool(desk.save, content.get("second") is True))

    async def drop(request: Request) -> Response:
        return to_json(await run_in_threadpool(desk.drop, await body(request, MAX_BYTES)))

    return Starlette(
        routes=[
            *(Route(path, file) for path in FILES),
            Route("/favicon.ico", lambda request: Response(status_code=204)),
            Route("/thumbnails/{row:int}", thumbnail),
            Route("/images/{row:int}", picture),
            Route("/api/start", start),
            Route("/api/state", state),
            Route("/api/queue", queue),
            Route("/api/images/{row:int}", image),
            Route("/api/heat/{row:int}", heat),
            Route("/api/edit", edit, methods=["POST"]),
            Route("/api/undo", undo, methods=["POST"]),
            Route("/api/save", save, methods=["POST"]),
            Route("/api/drop", drop, methods=["POST"]),
        ],
        exception_handlers={
            HTTPException: lambda request, error: failure(error.status_code, error.detail),
            Conflict: lambda request, error: failure(409, f"{error}"),
            ChangedFile: lambda request, error: failure(409, f"{error}"),
            TooLarge: lambda request, error: failure(413, f"{error}"),
            ValueError: lambda request, error: failure(400, f"{error}"),
            OSError: lambda request, error: failure(507, f"not written: {error.strerror or error}"),
        },
    )


def failure(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)


def to_json(content: object) -> Response:
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), default=plain)
    return Response(text, media_type="application/json", headers={"cache-control": "no-store"})


def plain(value: object) -> object:
    """Numbers and arrays of NumPy as those of Python."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"cannot send {type(value).__name__}")


def jpeg(content: bytes | None) -> Response:
    if content is None:
        raise HTTPException(404, "the image can no longer be read")
    return Response(content, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})


async def body(request: Request, limit: int) -> bytes:
    """The body of a request; a longer one is not read to its end."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLarge(f"the request has more than {limit >> 20} MB")
        parts.append(part)
    return b"".join(parts)


def number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise HTTPException(400, f"{name} is {text[:80]!r}; expected a number")
    return int(text)


def parse(content: bytes) -> dict:
    """Raises ValueError where the content is no JSON object."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    return value


def client_of(content: dict) -> str:
    client = content.get("client")
    if not isinstance(client, str) or not 0 < len(client) <= 64:
        raise ValueError("client: expected the name of the tab")
    return client


def read_edits(content: bytes, desk: Desk) -> tuple[str, list[Edit], list[tuple[int, bool]]]:
    """The client, edits and reviewed images of a request.

    Raises:
        ValueError: A value is out of range.
    """
    parsed = parse(content)
    rows, columns = desk.session.values.shape
    edits, reviewed = parsed.get("edits", []), parsed.get("reviewed", [])
    if not isinstance(edits, list) or not isinstance(reviewed, list):
        raise ValueError("edits and reviewed: expected lists")
    if not 0 < len(edits) + len(reviewed) <= MAX_EDITS:
        raise ValueError(f"expected 1 to {MAX_EDITS} edits at a time")
    within(edits, (lambda n: n < rows, lambda a: a < columns, VALUES.__contains__, VALUES.__contains__))
    within(reviewed, (lambda n: n < rows, (0, 1).__contains__))
    if len({(n, a) for n, a, *_ in edits}) < len(edits):
        raise ValueError("an entry is edited twice; expected each once")
    return client_of(parsed), [Edit(*item) for item in edits], [(row, bool(on)) for row, on in reviewed]


def within(items: list, allowed: tuple[Callable[[int], bool], ...]) -> None:
    for item in items:
        fits = isinstance(item, list) and len(item) == len(allowed)
        if not fits or not all(
            type(v) is int and v >= 0 and ok(v) for v, ok in zip(item, allowed, strict=True)
        ):
            raise ValueError(f"{f'{item}'[:80]}: expected indices of an image, an attribute and values")
