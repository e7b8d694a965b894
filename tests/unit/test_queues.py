"""What a queue gives jobs, by their nodes."""

from __future__ import annotations

import pytest

from orbit2.errors import OrbitError
from orbit2.queues import Asked, Bins, Partition, bins, refuse


def test_bins() -> None:
    found = bins("batch: 183=360 91=120 9472=720, extended: 64=1440")
    assert [found["batch"].minutes(nodes) for nodes in (1, 91, 92, 183, 184, 9472, 9473)] == [120, 120, 360, 360, 720, 720, None]
    assert (found["extended"].minutes(64), found["extended"].minutes(65), found["extended"].most_nodes) == (1440, None, 64)
    assert bins("") == {}


@pytest.mark.parametrize("text", ["batch", "batch: 2h", "batch: 91=120 91=360", ": 91=120", "batch: 0=120", "batch: 91=120 x"])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(OrbitError, match="time_limits"):
        bins(text)


def test_a_job_beyond_the_profiles_bins_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without SLURM being asked, or with one whose partition as a whole gives more."""
    monkeypatch.setattr("orbit2.queues.partition", lambda name: Partition(name, True, 720, None, None))
    own = {"batch": Bins(((91, 120), (183, 360))), "extended": Bins(((64, 1440),))}
    refuse([Asked("score", "extended", 1, 720)], own)  # a rule's own partition
    refuse([Asked("train_model", "batch", 92, 360)], own)
    for job in (Asked("train_model", "batch", 91, 121), Asked("train_model", "batch", 184, 10)):
        with pytest.raises(OrbitError, match=r"train_model: more time than the queue gives so many nodes"):
            refuse([job], own)
    with pytest.raises(OrbitError, match="PartitionTimeLimit"):
        refuse([Asked("score", "batch", 1, 721)])
