"""The thread that solves the heads again when labels have changed."""

import logging
import threading
import time
from dataclasses import dataclass, field, replace

import numpy as np

from aimonk.review.learning_curve import Forecast, forecast
from aimonk.review.scoring import Score, judge
from aimonk.review.session import Session
from aimonk.review.solving import Features, Solved, solve_heads

log = logging.getLogger(__name__)

PAUSE = 0.3  # seconds without an edit before the heads are solved again
MOST_EDITS = 5  # actions after which they are solved without a pause
PENALTIES = 25  # actions after which penalties are chosen again


@dataclass(frozen=True)
class Fit:
    """Heads for a state of the labels, and their score.

    Attributes:
        version: Number of the fit.
        seq: Number of the last action that it includes.
        evidence: Attributes that are predicted better than chance, [A].
        seconds: From the labels to the score.
        history: Number of labelled images and score of each earlier fit with other labels.
        forecast: What the next labels would buy; None before it is computed.
    """

    version: int
    seq: int
    solved: Solved
    score: Score
    evidence: np.ndarray
    seconds: float
    history: list[tuple[int, float, float, float]] = field(default_factory=list)
    forecast: Forecast | None = None


class Solver:
    """Solves the heads whenever labels have changed, in a thread.

    Args:
        groups: Group number of each image, [N].

    Attributes:
        fit: The latest one, replaced as a whole.
    """

    def __init__(self, session: Session, features: Features, groups: np.ndarray):
        self.session, self.features, self.groups = session, features, groups
        self._penalty: tuple[np.ndarray, int] | None = None
        self._stopped = threading.Event()
        self.fit = self._solve(None)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        seen, since = self.fit.seq, time.monotonic()
        while not self._stopped.wait(0.05):
            try:
                if self.session.seq != seen:
                    seen, since = self.session.seq, time.monotonic()
                behind = self.session.seq - self.fit.seq
                if behind >= MOST_EDITS or (behind and time.monotonic() - since >= PAUSE):
                    self.fit = self._solve(self.fit)
                elif not behind and self.fit.forecast is None:
                    self._extend()
            except Exception:
                log.exception("the heads could not be solved")
                self._stopped.wait(5)

    def _solve(self, before: Fit | None) -> Fit:
        started = time.perf_counter()
        with self.session.lock:
            labels, mask = self.session.labels()
            seq = self.session.seq
        penalty = None
        if self._penalty is not None and seq - self._penalty[1] < PENALTIES:
            penalty = self._penalty[0]
        solved = solve_heads(self.features.components, labels, mask, self.groups, penalty)
        if penalty is None:
            self._penalty = solved.penalty, seq
        score, evidence = judge(solved, labels, mask, self.groups, self.session.attributes)
        history = [] if before is None else before.history
        if score.interval is not None:
            history = [*history[-499:], (score.images, score.value, *score.interval)]
        version = 1 if before is None else before.version + 1
        return Fit(version, seq, solved, score, evidence, time.perf_counter() - started, history)

    def _extend(self) -> None:
        """Add the forecast, which takes longer than a fit."""
        fit = self.fit
        labels, mask = self.session.labels()
        found = forecast(
            self.features.components, labels, mask, self.groups, fit.solved.penalty, self._is_outdated
        )
        if found is not None:
            self.fit = replace(fit, version=fit.version + 1, forecast=found)

    def _is_outdated(self) -> bool:
        return self._stopped.is_set() or self.session.seq != self.fit.seq
