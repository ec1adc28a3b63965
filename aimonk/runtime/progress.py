"""Progress bars on a terminal."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """A progress bar; without a terminal it does nothing."""

    def __init__(self, progress: Progress | None, task: int):
        self._progress = progress
        self._task = task

    def advance(self, count: int, note: str = "") -> None:
        """Advance by `count`, with a note such as the loss."""
        if self._progress is not None:
            self._progress.update(self._task, advance=count, note=note)


@contextmanager
def show_progress(title: str, total: int | None) -> Iterator[Bar]:
    """A bar that is removed at the end of the block; None where the total is unknown."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Bar(None, 0)
        return
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
    ]
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        yield Bar(progress, progress.add_task(title, total=total, note=""))


def unwatched(items: Iterable, total: int, title: str) -> Iterable:
    """The items, without a progress bar."""
    return items


def watch(items: Iterable, total: int, title: str) -> Iterator:
    """The items, with a progress bar."""
    with show_progress(title, total) as bar:
        for item in items:
            yield item
            bar.advance(1)
