"""The server process: a socket of this machine only, and an address with the token."""

import contextlib
import signal
import socket
from collections.abc import Callable

import uvicorn

from aimonk.review.desk import Desk
from aimonk.review.guard import Guard
from aimonk.review.server import create_app

HOST = "127.0.0.1"


def serve(desk: Desk, port: int, announce: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        port: 0 for any free one.
        announce: Called with the address.

    Raises:
        ValueError: The port is in use.
    """
    with listen(port) as listener:
        server, address = create_server(desk, listener)
        announce(address)
        # uvicorn raises a signal again after it has ended, which then must not end the process
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def listen(port: int) -> socket.socket:
    """A socket that accepts connections from this machine.

    Raises:
        ValueError: The port is in use.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise ValueError(f"port is {port}; expected a free one, or 0 for any ({error.strerror})") from None
    listener.listen(128)
    return listener


def create_server(desk: Desk, listener: socket.socket) -> tuple[uvicorn.Server, str]:
    """The server of a review, and the address of its page."""
    port = listener.getsockname()[1]
    guard = Guard(create_app(desk), port)
    config = uvicorn.Config(
        guard,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config), f"http://{HOST}:{port}/?token={guard.token}"
