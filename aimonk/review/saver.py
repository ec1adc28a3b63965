"""The thread that writes the label file after edits."""

import threading
import time

from aimonk.review.label_file import ChangedFile, LabelFile


class Saver:
    """Writes the label file a moment after the last edit, in a thread.

    Attributes:
        problem: Why the labels are not written; None where they are.
    """

    def __init__(self, file: LabelFile, pause: float):
        self.file, self.pause = file, pause
        self.problem: str | None = None
        self._busy = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write what is not written yet, and end."""
        self._stopped.set()
        self._thread.join()
        self.save()

    def _run(self) -> None:
        seen, tried = self.file.session.seq, self.file.session.journal.saved
        since = time.monotonic()
        while not self._stopped.wait(0.1):
            seq = self.file.session.seq
            if seq != seen:
                seen, since = seq, time.monotonic()
            if seq != tried and time.monotonic() - since >= self.pause:
                self.save()
                tried = seq

    def save(self, second: bool = False) -> None:
        """Write the labels; what prevents it becomes the problem."""
        with self._busy:
            try:
                if second:
                    self.file.save_second()
                else:
                    self.file.save()
                self.problem = None
            except ChangedFile as error:
                self.problem = f"{error}"
            except (OSError, ValueError) as error:
                self.problem = f"{self.file.path.name} cannot be written: {error}"
