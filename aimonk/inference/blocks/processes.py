"""Workers of this machine; one that dies is replaced, and its block repeated."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from aimonk.inference.blocks.block import Block
from aimonk.inference.blocks.job import Job, Outcome
from aimonk.inference.blocks.worker import ATTEMPTS, start_predictor

READY = "ready"


@dataclass
class Worker:
    """A process and its pipe.

    Attributes:
        block: That it works on; None before it is ready.
    """

    process: BaseProcess
    pipe: Connection
    place: int
    block: Block | None = None


def predict_in_processes(job: Job, blocks: Sequence[Block], workers: int) -> Iterator[Outcome]:
    """The outcome of every block, in the order in which they end.

    Raises:
        ValueError: The workers cannot start.
    """
    return Pool(job, blocks, workers).run()


class Pool:
    """As predict_in_processes."""

    def __init__(self, job: Job, blocks: Sequence[Block], workers: int):
        self.job = job
        self.waiting = deque(blocks)
        self.places = min(workers, len(blocks))
        self.attempts: dict[int, int] = {}
        self.failed_starts = 0
        self.workers: list[Worker] = []

    def run(self) -> Iterator[Outcome]:
        try:
            self.workers = [self._start(place) for place in range(self.places)]
            while self.workers:
                by_pipe = {worker.pipe: worker for worker in self.workers}
                # a pipe is ready when there is a message, or when its worker has died
                for pipe in wait(list(by_pipe)):
                    yield from self._answer(by_pipe[pipe])
        finally:
            for worker in self.workers:
                worker.process.kill()
                worker.process.join()

    def _start(self, place: int) -> Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        job = replace(self.job, device=device_of(self.job.device, place))
        process = context.Process(target=work, args=(theirs, job), daemon=True)
        process.start()
        theirs.close()  # or the end of the process would not end the pipe
        return Worker(process, ours, place)

    def _answer(self, worker: Worker) -> Iterator[Outcome]:
        """Deal with a message or the death of a worker."""
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            yield from self._bury(worker)
            return
        if isinstance(message, ValueError):
            raise message
        if message == READY:
            self.failed_starts = 0
        else:
            repeated = message.transient and self._repeat(worker.block)
            worker.block = None
            if not repeated:
                yield message
        self._feed(worker)

    def _feed(self, worker: Worker) -> None:
        if not self.waiting:
            self.workers.remove(worker)
            worker.pipe.close()  # which ends the process
            worker.process.join()
            return
        worker.block = self.waiting.popleft()
        self.attempts[worker.block.number] = self.attempts.get(worker.block.number, 0) + 1
        with contextlib.suppress(OSError):  # it has died, and its pipe ends
            worker.pipe.send(worker.block)

    def _repeat(self, block: Block) -> bool:
        """Put a block back, unless it was tried often enough."""
        if self.attempts[block.number] >= ATTEMPTS:
            return False
        self.waiting.append(block)
        return True

    def _bury(self, worker: Worker) -> Iterator[Outcome]:
        """Replace a dead worker.

        Raises:
            ValueError: Workers die before they are ready.
        """
        worker.process.join()
        self.workers.remove(worker)
        how = describe_exit(worker.process.exitcode)
        if worker.block is None:
            self.failed_starts += 1
            if self.failed_starts >= ATTEMPTS:
                raise ValueError(f"workers cannot start: the last {how}; fewer workers need less memory")
        elif not self._repeat(worker.block):
            error = f"{worker.block}: the worker {how}, at {ATTEMPTS} attempts"
            yield Outcome(worker.block.number, error=error)
        if self.waiting:
            self.workers.append(self._start(worker.place))


def describe_exit(code: int) -> str:
    """How a process ended: `was killed (SIGKILL)`, `ended with status 1`."""
    return f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with status {code}"


def device_of(device: str, place: int) -> str:
    """The device of a worker: the CUDA devices in turn, where none is named."""
    import torch  # not needed by a worker that is about to start

    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        return f"cuda:{place % max(torch.cuda.device_count(), 1)}"
    return device


def work(pipe: Connection, job: Job) -> None:
    """A worker: receives blocks and sends outcomes until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        predict = start_predictor(job, job.checkpoint)
    except (ValueError, OSError) as error:
        pipe.send(ValueError(f"{error}"))
        return
    pipe.send(READY)
    while True:
        try:
            block = pipe.recv()
        except EOFError:
            return
        pipe.send(predict(block))


def end_with_parent() -> None:
    """End at once when the parent has died: another command may own the output folder by then."""
    multiprocessing.parent_process().join()
    os._exit(1)
