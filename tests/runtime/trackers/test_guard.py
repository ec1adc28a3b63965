import logging
import threading

import pytest

from aimonk.runtime.trackers import guard
from aimonk.runtime.trackers.guard import Guard, hide_password


def test_results_come_from_one_other_thread() -> None:
    calls = Guard("tracker=x")
    threads = {calls.call(threading.get_ident) for _ in range(3)}
    assert len(threads) == 1 and threading.get_ident() not in threads


@pytest.mark.parametrize(
    "error", [OSError("disk full\nadvice"), ImportError("disk full"), SystemExit("disk full")]
)
def test_failure_warns_once(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise error

    calls = Guard("tracker=x")
    with caplog.at_level(logging.WARNING):
        assert calls.call(fail) is None
        assert calls.call(lambda: 1) is None, "later calls are left out"
    assert caplog.messages == ["tracker=x failed, and the run continues without it: disk full"]
    assert calls.lost


def test_hanging_call_is_given_up(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(guard, "LIMIT", 0.01)
    calls, release = Guard("tracker=x"), threading.Event()
    assert calls.call(release.wait) is None
    assert calls.call(lambda: 1) is None and len(caplog.messages) == 1
    assert caplog.messages[0].endswith("no answer within 0.01 seconds")
    calls.close()
    release.set()


def test_passwords_are_hidden() -> None:
    text = "no answer of https://me:secret@host:80/a and file:///b"
    assert hide_password(text) == "no answer of https://host:80/a and file:///b"
