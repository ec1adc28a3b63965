"""What a request must have: the token, the own host, and no other origin."""

import hmac
import secrets
from urllib.parse import parse_qs

from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """Answers 403 to every request that is not from the page itself.

    A page of another site may send requests to 127.0.0.1, also under a name of its own that resolves to it:
    the Host header names the address, the Origin header the page, and the token is known to neither.

    Args:
        port: Of this server.
    """

    def __init__(self, app: ASGIApp, port: int):
        self.app = app
        self.token = secrets.token_urlsafe(32)
        self.hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        # cookies are shared between the ports of a host
        self.cookie = f"aimonk_review_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    *((key.encode(), value.encode()) for key, value in HEADERS.items()),
                ]
            await send(message)

        answer = self._refuse(scope) or self.app
        await answer(scope, receive, send_with_headers)

    def _refuse(self, scope: Scope) -> PlainTextResponse | RedirectResponse | None:
        """The answer to a request that does not reach the application."""
        headers: dict[str, list[str]] = {}
        for key, value in scope["headers"]:
            headers.setdefault(key.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        if len(headers.get("host", [])) != 1 or headers["host"][0] not in self.hosts:
            return PlainTextResponse("unknown host", 403)
        entry = scope["path"] == "/" and scope["method"] == "GET"
        origins = headers.get("origin", [])
        if scope["method"] not in ("GET", "HEAD") and not origins:
            return PlainTextResponse("no origin", 403)
        if any(origin not in [f"http://{host}" for host in self.hosts] for origin in origins):
            return PlainTextResponse("foreign origin", 403)
        sites = headers.get("sec-fetch-site", [])
        if not entry and any(site not in ("same-origin", "none") for site in sites):
            return PlainTextResponse("foreign page", 403)
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if entry and self._is_token(given):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(self.cookie, self.token, httponly=True, samesite="strict")
            return answer
        if not any(self._is_token(value) for value in self._cookies(headers.get("cookie", []))):
            return PlainTextResponse("open the address that the command has printed", 403)
        return None

    def _is_token(self, value: str) -> bool:
        return hmac.compare_digest(value.encode(), self.token.encode())

    def _cookies(self, headers: list[str]) -> list[str]:
        values = []
        for header in headers:
            for part in header.split(";"):
                name, _, value = part.strip().partition("=")
                if name == self.cookie:
                    values.append(value)
        return values
