"""Calls that may fail or hang without ending the program."""

import logging
import queue
import re
import threading
import traceback
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger(__name__)

LIMIT = 30.0  # seconds that a call may take

T = TypeVar("T")


class Guard:
    """Calls in a thread of their own, one after another, until one fails or takes too long.

    The caller waits, so that the thread is idle whenever processes are forked.

    Attributes:
        lost: Whether a call failed; later ones are left out.
    """

    def __init__(self, name: str) -> None:
        self.name, self.lost = name, False
        self._calls: queue.SimpleQueue = queue.SimpleQueue()
        # a thread pool would be joined at exit, where a call may still hang
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def call(self, function: Callable[[], T]) -> T | None:
        """The result; None, and a warning, if it failed, and None if an earlier one did."""
        if self.lost:
            return None
        answer: queue.SimpleQueue = queue.SimpleQueue()
        self._calls.put((function, answer))
        try:
            result, error = answer.get(timeout=LIMIT)
        except queue.Empty:
            result, error = None, TimeoutError(f"no answer within {LIMIT:g} seconds")
        if error is not None:
            self.lost = True
            reason = (f"{error}".strip() or type(error).__name__).splitlines()[0]
            log.warning("%s failed, and the run continues without it: %s", self.name, hide_password(reason))
            log.debug("%s", hide_password("".join(traceback.format_exception(error))))
        return result

    def close(self) -> None:
        """End the thread, after a call that hangs too."""
        self._calls.put(None)

    def _work(self) -> None:
        while (entry := self._calls.get()) is not None:
            function, answer = entry
            try:
                answer.put((function(), None))
            except BaseException as error:  # some packages raise SystemExit
                answer.put((None, error))


def hide_password(text: str) -> str:
    """A text without user and password in its addresses."""
    return re.sub(r"(?<=://)[^/@\s]+@", "", text)
