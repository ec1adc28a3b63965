"""The server process: a socket of this machine only, and an address with the token."""

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
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise ValueError(f"port is {port}; expected a free one, or 0 for any ({error.strerror})") from None
    port = listener.getsockname()[1]
    guard = Guard(create_app(desk), port)
    config = uvicorn.Config(
        guard,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=2,
    )
    listener.listen(128)
    announce(f"http://{HOST}:{port}/?token={guard.token}")
    # uvicorn raises a signal again after it has ended; the labels are written then
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        listener.close()
