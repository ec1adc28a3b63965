"""Records in an MLflow store: a local folder, or what MLFLOW_TRACKING_URI names."""

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import FileLock

from aimonk.runtime.trackers.record import Point, Record, require_package, shorten_value

STATES = {"finished": "FINISHED", "interrupted": "KILLED", "pruned": "KILLED", "failed": "FAILED"}
# limits of a request and of a setting
METRICS, PARAMS, LONGEST = 1000, 100, 6000


class MLflow:
    """A run of an experiment; jobs of a sweep have its name as the tag `group`.

    The environment alone names a server: the settings of a resumed run may come from somebody else, who must
    not choose where results are sent, and settings are no place for a password.

    Args:
        folder: Of the local store.
    """

    identity: str | None = None

    def __init__(self, folder: str, experiment: str) -> None:
        require_package("mlflow")
        self.folder, self.experiment = Path(folder).absolute(), experiment
        self._client: Any = None
        self._held: set[tuple[str, int]] = set()  # keys and iterations that the record has

    def start(self, record: Record, held: int, identity: str | None) -> int:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # 7 take minutes
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it logs each retry
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            uri = self.folder.as_uri()
            # without a server, the lean package has this store alone, and MLflow 3 asks for consent
            os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        from mlflow.tracking import MlflowClient

        with self._locked(uri):
            self._client = MlflowClient(tracking_uri=uri)
            if identity is not None and self._continues(identity):
                return max((step for key, step in self._held if key == "train/loss"), default=0)
            found = self._client.get_experiment_by_name(self.experiment)
            experiment = found.experiment_id if found else self._client.create_experiment(self.experiment)
        tags = {} if record.group is None else {"group": record.group}
        run = self._client.create_run(experiment, run_name=record.name, tags=tags)
        self.identity = run.info.run_id
        self._log_settings(record.settings)
        return 0

    @contextlib.contextmanager
    def _locked(self, uri: str) -> Iterator[None]:
        """Let processes create a local store and its experiment one after another."""
        if not uri.startswith("file:"):
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock", timeout=30):
            yield

    def _continues(self, identity: str) -> bool:
        """Whether the store has a record; if so, it is open again."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(identity)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        if run.info.lifecycle_stage != "active":
            return False
        self._client.update_run(identity, status="RUNNING")
        self.identity = identity
        for key in run.data.metrics:
            self._held |= {(key, entry.step) for entry in self._client.get_metric_history(identity, key)}
        return True

    def _log_settings(self, settings: dict[str, Any]) -> None:
        from mlflow.entities import Param

        params = iter([Param(key, shorten_value(value, LONGEST)) for key, value in settings.items()])
        while batch := list(islice(params, PARAMS)):
            self._client.log_batch(self.identity, params=batch)

    def log(self, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        # the loss comes last: an iteration that has it is complete
        entries = iter(
            [
                Metric(key, value, now, iteration)
                for iteration, values in points
                for key, value in sorted(values.items(), key=lambda item: item[0] == "train/loss")
                if (key, iteration) not in self._held
            ]
        )
        while batch := list(islice(entries, METRICS)):
            self._client.log_batch(self.identity, metrics=batch)

    def log_results(self, iteration: int, scores: dict[str, float], files: Sequence[Path]) -> None:
        self.log([(iteration, scores)])
        for path in files:
            self._client.log_artifact(self.identity, f"{path}")

    def end(self, state: str) -> None:
        self._client.set_terminated(self.identity, STATES[state])
