"""Everything that a review works with, and the answers to the page."""

from dataclasses import dataclass, field

import numpy as np
import torch

from aimonk.evaluation.calibration import sigmoid
from aimonk.review import queues
from aimonk.review.heat_maps import HeatMaps, weigh
from aimonk.review.label_file import LabelFile
from aimonk.review.pictures import Pictures, read_dropped
from aimonk.review.saver import Saver
from aimonk.review.session import Conflict, Edit, Session
from aimonk.review.solver import Fit, Solver
from aimonk.review.solving import Features

NEIGHBOURS = 6


@dataclass(frozen=True)
class Model:
    """A backbone, and what is known of its run.

    Attributes:
        thresholds: Lowest probability at which an attribute is predicted, [A].
        image_size: Pixels per side.
        resize: `squash`, `crop` or `pad`.
        logits: Of its own head, for attributes that the labels cannot solve yet, [N, A]; None without one.
        note: What limits its scores on these images; empty where nothing does.
    """

    maps: HeatMaps
    thresholds: np.ndarray
    image_size: int
    resize: str
    logits: np.ndarray | None
    note: str


@dataclass
class Desk:
    """Labels, images and models of a review.

    Attributes:
        groups: Number of the photograph that each image shows, [N].
    """

    session: Session
    file: LabelFile
    pictures: Pictures
    features: Features
    groups: np.ndarray
    model: Model
    solver: Solver
    saver: Saver
    _queued: dict[str, tuple] = field(default_factory=dict)

    def start(self) -> dict:
        """What the page needs once: names, values and what was reviewed."""
        session = self.session
        with session.lock:
            return {
                "names": session.names,
                "attributes": session.attributes,
                "values": session.values.tolist(),
                "reviewed": session.reviewed.astype(int).tolist(),
                "seq": session.seq,
                "thresholds": self.model.thresholds,
                "resize": self.model.resize,
                "maps": self.model.maps.available,
                "note": self.model.note,
                "file": self.file.source.name,
            }

    def state(self, since: int) -> dict:
        """Changes after an action, the score, and whether the labels are written."""
        with self.session.lock:
            changes, seq = self.session.since(since), self.session.seq
        fit = self.solver.fit
        forecast = fit.forecast
        return {
            "seq": seq,
            "changes": changes,
            "version": fit.version,
            "behind": seq - fit.seq,
            "score": vars(fit.score),
            "seconds": fit.seconds,
            "history": fit.history,
            "forecast": None if forecast is None else vars(forecast),
            "saved": self.file.is_current(),
            "written": self.file.path.name,
            "problem": self.saver.problem,
            "second": self.file.second.name,
        }

    def queue(self, name: str) -> dict:
        """Rows of a queue in order, with the attributes that put each there."""
        fit, session = self.solver.fit, self.session
        key = (fit.version, session.seq)
        cached = self._queued.get(name)
        if cached is None or cached[0] != key:
            with session.lock:
                (labels, mask), reviewed = session.labels(), session.reviewed.copy()
            cached = key, self._order(name, fit, labels, mask, reviewed)
            self._queued[name] = cached
        found = cached[1]
        return {
            "name": name,
            "version": fit.version,
            "rows": [row for row, _ in found],
            "why": [attributes for _, attributes in found],
        }

    def _order(
        self, name: str, fit: Fit, labels: np.ndarray, mask: np.ndarray, reviewed: np.ndarray
    ) -> list[tuple[int, list[int]]]:
        components = self.features.components
        match name:
            case "suspects":
                return queues.suspects(fit.solved.probs, labels, mask, fit.evidence, reviewed)
            case "uncertain":
                return queues.uncertain(self.probs(fit), mask, components, reviewed)
            case "copies":
                return queues.copies(self.groups, labels, mask)
            case "unlike":
                return queues.unlike(components, mask, reviewed)
        return [(row, []) for row in range(len(mask))]

    def probs(self, fit: Fit) -> np.ndarray:
        """Probabilities of all images, [N, A]; of the model's own head where no head is solved."""
        probs = fit.solved.probs
        if self.model.logits is None:
            return probs
        own = sigmoid(self.model.logits)
        return np.where(fit.solved.usable, probs, own)

    def image(self, row: int) -> dict:
        """Probabilities, shape and similar labelled images of an image."""
        fit = self.solver.fit
        with self.session.lock:
            mask = self.session.labels()[1]
            described = self.session.describe(row)
        width, height = self.pictures.shape(row)
        return described | {
            "probs": self.probs(fit)[row],
            "evidence": fit.evidence,
            "width": width,
            "height": height,
            "neighbours": queues.neighbours(self.features.components, row, mask, NEIGHBOURS),
            "version": fit.version,
        }

    def heat(self, row: int) -> dict:
        """Contribution of each place to the logit of each attribute, without the bias."""
        return self._predict(self.pictures.read(row, self.model.image_size, self.model.resize))

    def drop(self, content: bytes) -> dict:
        """Predictions and maps of an image that is not kept."""
        return self._predict(read_dropped(content, self.model.image_size, self.model.resize))

    @torch.inference_mode()
    def _predict(self, pixels: np.ndarray) -> dict:
        images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        vector, maps = self.model.maps.features_and_map(images)
        solved = self.solver.fit.solved
        weight = self.features.axes @ solved.coefficients[:-1]  # [D, A]
        logits = self.features.project(vector)[0] @ solved.coefficients[:-1] + solved.coefficients[-1]
        if self.model.logits is not None:
            head = self.model.maps.classifier.head
            usable = torch.from_numpy(solved.usable)
            logits = torch.where(usable, logits, head(vector.to(head.weight.device))[0].cpu())
            weight = torch.where(usable, weight, head.weight.T.cpu())
        return {
            "probs": torch.sigmoid(logits).tolist(),
            "thresholds": self.model.thresholds,
            "maps": None if maps is None else np.round(weigh(maps, weight).numpy(), 4),
        }

    def edit(self, client: str, edits: list[Edit], reviewed: list[tuple[int, bool]]) -> dict:
        """Journal and apply the changes of a request; nothing of it where one conflicts."""
        return {"seq": self.session.apply(client, edits, reviewed).seq}

    def undo(self, client: str) -> dict:
        """Take back the last action of a tab; the rows that it changed."""
        action = self.session.undo(client)
        if action is None:
            raise Conflict("nothing to undo")
        return {"seq": action.seq, "changes": self.session.since(action.seq - 1)}

    def save(self, second: bool) -> dict:
        """Write the label file now, or a second file."""
        self.saver.save(second)
        return {"problem": self.saver.problem, "written": self.file.path.name}
