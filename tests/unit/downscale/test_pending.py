"""What is on its way from a device is read when it has come, and not before."""

from typing import Any

import numpy as np
import pytest
import torch

from orbit2.downscale import pending
from orbit2.downscale.pending import Pending
from orbit2.timing import clock_on

CPU = torch.device("cpu")


class Event:
    """Stands in for a GPU's: it copies when it is waited for, as late as a device may."""

    def __init__(self, late: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.late, self.waited = late, 0

    def synchronize(self) -> None:
        self.waited += 1
        for there, part in self.late:
            there.copy_(part)

    def elapsed_time(self, end: Any) -> float:
        assert isinstance(end, Event) and end.waited, "only what has come to pass has a time"
        return 1500.0


def test_parts_follow_each_other_and_what_is_around_them_may_go() -> None:
    whole = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).view(2, 3, 8, 8)
    made = Pending([whole[..., 2:6, 1:5], whole[:1, :, 2:6, 1:5] + 0.5])
    assert all(part.untyped_storage().nbytes() == 4 * part.numel() for part in made.parts)
    expected = np.concatenate([whole[..., 2:6, 1:5], whole[:1, :, 2:6, 1:5] + 0.5])
    assert np.array_equal(made.array(), expected) and made.array().flags.c_contiguous
    assert made.seconds(0.25) == 0.25, "a processor's clock is its caller's"


def test_nothing_is_read_before_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    late: list[tuple[torch.Tensor, torch.Tensor]] = []

    def host(part: torch.Tensor) -> torch.Tensor:
        late.append((torch.full_like(part, torch.nan), part))
        return late[-1][0]

    events = [Event([]), Event(late)]
    monkeypatch.setattr(pending, "_host", host)
    monkeypatch.setattr(pending, "mark", lambda device: events[1])
    made = Pending([torch.ones(1, 2, 3, 3), torch.zeros(1, 2, 3, 3)], events[0])
    assert not events[1].waited
    assert np.array_equal(made.array(), np.concatenate([np.ones((1, 2, 3, 3)), np.zeros((1, 2, 3, 3))]))
    assert made.seconds(9.0) == 1.5


def test_a_processor_marks_nothing() -> None:
    assert pending.mark(CPU) is None


def test_marks_are_made_in_the_devices_own_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a GPU that is not torch's current one: a mark in another's stream comes to pass before anything has arrived."""
    recorded: list[str] = []

    class Recorded:
        def __init__(self, enable_timing: bool, blocking: bool) -> None:
            assert enable_timing and blocking, "who waits sleeps"

        def record(self, stream: str) -> None:
            recorded.append(stream)

    monkeypatch.setattr(torch.cuda, "Event", Recorded)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    second = torch.device("cuda:1")
    assert pending.mark(second) is not None
    clock_on(second).lap("forward")
    assert recorded == ["stream of cuda:1"] * 2
