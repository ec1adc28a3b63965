"""Requests to end a run early, answered between iterations."""

import signal
import threading
from types import FrameType


class Interrupt:
    """Records Ctrl-C and SIGTERM within the block; a second Ctrl-C ends the process.

    Attributes:
        signal: The recorded signal; None before one arrives.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Interrupt":
        is_main = threading.current_thread() is threading.main_thread()  # only it may handle signals
        for number in (signal.SIGINT, signal.SIGTERM) if is_main else ():
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def requested(self) -> signal.Signals | None:
        return self.signal

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
