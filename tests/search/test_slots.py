import threading
from types import SimpleNamespace

import pytest

from aimonk.search.slots import Slots, count_slots


def test_slots_refill_while_other_jobs_run() -> None:
    first_may_end, slots, ended = threading.Event(), Slots(2), []
    slots.start(0, lambda: first_may_end.wait(60) and None)
    for number in (1, 2, 3):  # three jobs in the other slot, while the first one runs
        assert slots.free
        slots.start(number, lambda: ValueError("x"))
        assert not slots.free
        job = slots.next_ended()
        ended.append(slots.running.pop(job))
        assert f"{job.result()}" == "x"
    assert ended == [1, 2, 3] and list(slots.running.values()) == [0]
    first_may_end.set()
    assert slots.next_ended().result() is None
    slots.close()


def test_one_slot_runs_in_the_main_thread() -> None:
    # where a signal interrupts it
    slots, thread = Slots(1), []
    slots.start(0, lambda: thread.append(threading.current_thread()))
    assert thread == [threading.main_thread()] and not slots.free
    with pytest.raises(SystemExit):
        slots.start(1, lambda: exec("raise SystemExit(130)"))


def test_number_of_slots_is_the_launchers() -> None:
    pytest.importorskip("joblib")
    assert count_slots(SimpleNamespace()) == 1
    assert count_slots(SimpleNamespace(joblib={"n_jobs": 3})) == 3
    assert count_slots(SimpleNamespace(params={"array_parallelism": 8})) == 8
