"""The loop: what is read ahead, what a failure or a request to stop leaves behind, and what is said meanwhile."""

import logging
import threading
import time

import pytest

from orbit2 import progress
from orbit2.downscale.items import Item, Items
from orbit2.downscale.work import Spent, work

ITEMS = Items(times=6, time_block=1, tiles=2)


class Recorder:
    """Every step as it happens, with the thread it happens in."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int]] = []
        self.threads: dict[str, set[str]] = {}

    def _note(self, step: str, item: Item) -> None:
        self.steps.append((step, item.index))
        self.threads.setdefault(step, set()).add(threading.current_thread().name)

    def read(self, item: Item) -> int:
        self._note("read", item)
        return item.index

    def compute(self, item: Item, fields: int) -> int:
        assert fields == item.index
        time.sleep(0.01)  # long enough for the threads beside it
        self._note("compute", item)
        return -fields

    def write(self, item: Item, made: int) -> None:
        assert made == -item.index
        self._note("write", item)

    def __call__(self, **changes: object) -> Spent:
        steps = {"read": self.read, "compute": self.compute, "write": self.write, "stop": False, **changes}
        return work(list(ITEMS), label="test", fields_of=lambda item: 0.5, **steps)  # type: ignore[arg-type]


def test_one_item_is_read_ahead_and_one_written_behind() -> None:
    seen = Recorder()
    spent = seen()
    assert spent.items == 12 and spent.fields == 6.0
    for step in ("read", "compute", "write"):
        assert [index for name, index in seen.steps if name == step] == list(range(12))
    for index in range(12):  # never more than one ahead of, or behind, the one in hand
        computed = seen.steps.index(("compute", index))
        before = set(seen.steps[:computed])
        assert ("read", index + 2) not in before and all(("write", k) in before for k in range(index - 1))
    assert seen.threads["compute"] == {threading.main_thread().name} and len(seen.threads["read"] | seen.threads["write"]) == 2
    assert spent.wall >= spent.compute >= 0.12 and "waiting" in spent.line()


@pytest.mark.parametrize("step", ["read", "compute", "write"])
def test_a_failure_of_any_step_is_raised_and_nothing_more_begins(step: str) -> None:
    seen = Recorder()

    def fail(item: Item, *given: int) -> int:
        if item.index == 3:
            raise RuntimeError(f"{step} failed")
        return getattr(seen, step)(item, *given)  # type: ignore[no-any-return]

    with pytest.raises(RuntimeError, match=f"{step} failed"):
        seen(**{step: fail})
    assert max(index for name, index in seen.steps if name == "compute") <= 5
    assert {("write", index) for index in range(3)} <= set(seen.steps), "what was computed before is written"


def test_a_stop_lets_the_item_in_hand_be_written() -> None:
    seen = Recorder()

    class AfterFour:
        def __bool__(self) -> bool:
            return len([name for name, _ in seen.steps if name == "compute"]) >= 4

    spent = seen(stop=AfterFour())
    assert spent.items == 4 and ("write", 3) in seen.steps and ("compute", 4) not in seen.steps


def test_a_log_gets_a_line_a_minute_at_most(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO, "orbit2")
    Recorder()()
    assert len(caplog.messages) == 1 and "fields/hour: compute" in caplog.messages[0], "a short run says only what it took"
    caplog.clear()
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    Recorder()()
    assert len(caplog.messages) == 13 and caplog.messages[0].startswith("test: 1 of 12 items") and "left" in caplog.messages[0]
