"""The clock, the record of tries and the meter, on stand-ins for a GPU's events and a machine's counters."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from orbit2 import energy, timing
from orbit2.timing import Clock


class Stream:
    """A device that is behind its host: events come to pass when they are let."""

    def __init__(self) -> None:
        self.now, self.reached = 0.0, 0.0

    def mark(self) -> "Event":
        return Event(self)


class Event:
    def __init__(self, stream: Stream) -> None:
        self.stream, self.at = stream, -1.0

    def record(self) -> None:
        self.at = self.stream.now

    def query(self) -> bool:
        return self.at <= self.stream.reached

    def elapsed_time(self, end_event: "Event") -> float:
        assert self.query() and end_event.query(), "asked before it came to pass: that waits for the device"
        return end_event.at - self.at


def test_parts_of_the_device_are_its_own_time_read_when_it_is_there() -> None:
    stream = Stream()
    clock = Clock("waiting", stream.mark)
    for step in range(3):
        for part, milliseconds in (("copy", 100.0), ("forward", 1000.0), ("backward", 2000.0), ("copy", 50.0), ("optimiser", 500.0)):
            clock.lap(part)
            stream.now += milliseconds
        clock.lap("other")
        stream.now += 7000.0  # the device has nothing to do: no part of it
        clock.read()
        assert not clock.seconds["forward"] if step == 0 else clock.seconds["forward"] == pytest.approx(step)
        stream.reached = stream.now
    clock.read()
    assert {part: clock.seconds[part] for part in timing.ON_DEVICE} == pytest.approx(
        {"copy": 0.45, "forward": 3.0, "backward": 6.0, "optimiser": 1.5}
    )
    assert clock.seconds["waiting"] + clock.seconds["other"] < 1.0  # the host's own


def test_the_parts_of_a_host_leave_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(timing, "perf_counter", lambda: now.seconds)
    clock = Clock()
    for part, seconds in (("waiting", 3.0), ("forward", 1.0), ("backward", 2.0), ("saving", 4.0), ("waiting", 8.0)):
        now.seconds += 0.5
        before = clock.lap(part)
        now.seconds += seconds - 0.5
    assert before == "saving"
    split = clock.split()
    assert split == pytest.approx({"setup": 0.5, "waiting": 3.0 + 7.5, "forward": 1.0, "backward": 2.0, "saving": 4.0, "other": 0.0})
    assert sum(split.values()) == pytest.approx(clock.elapsed)


def entry(number: int, began: float, elapsed: float, **more: object) -> dict[str, object]:
    parts = {"seconds": {"forward": 1.0, "saving": 0.5}, "loader": {"reading": 0.25}}
    known = {"flops": 6e12, "rate": 1e12, "joules": 100.0, "host_bytes": 5, "device_bytes": None}
    return {"try": number, "began": began, "elapsed": elapsed, "ranks": 2, "samples": 30, **parts, **known, **more}


def test_tries_add_up_and_what_went_on_side_by_side_counts_once(tmp_path: Path) -> None:
    path = tmp_path / timing.NAME
    timing.write(path, [entry(1, 0.0, 10.0), entry(2, 100.0, 20.0, host_bytes=9), entry(3, 110.0, 15.0)], {"name": "x"})
    found = timing.read_json(path)["total"]
    assert found["elapsed"] == 10 + 25 and found["device_seconds"] == 2 * 45 and found["samples"] == 90
    assert found["seconds"] == {"forward": 3.0, "saving": 1.5} and found["loader"] == {"reading": 0.75}
    assert found["flops_per_second"] == pytest.approx(18e12 / 35) and found["of_rate"] == pytest.approx(18e12 / 90 / 1e12)
    assert found["joules"] == 300 and found["host_bytes"] == 9 and found["device_bytes"] is None
    assert [one["try"] for one in timing.tries(path)] == [1, 2, 3]


@pytest.mark.parametrize("unknown", ["flops", "joules"])
def test_a_sum_that_a_try_does_not_know_its_part_of_is_unknown(unknown: str) -> None:
    found = timing.total([entry(1, 0.0, 10.0), entry(2, 10.0, 10.0, **{unknown: None})])
    assert found[unknown] is None and found["samples"] == 60
    assert (found["flops_per_second"] is None) == (found["of_rate"] is None) == (unknown == "flops")


def test_rates_of_two_kinds_of_device_have_no_common_share() -> None:
    assert timing.total([entry(1, 0.0, 10.0), entry(2, 10.0, 10.0, rate=2e12)])["of_rate"] is None


@pytest.mark.parametrize("text", ["", "[]", '{"format": "another", "tries": [{}]}', '{"format": "orbit2-timing-1"}'])
def test_a_damaged_record_is_begun_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / timing.NAME).write_text(text)
    assert timing.tries(tmp_path / timing.NAME) == []


def domain(folder: Path, name: str, joules: float, top: float) -> Path:
    folder.mkdir(parents=True)
    (folder / "name").write_text(name + "\n")
    (folder / "max_energy_range_uj").write_text(f"{top * 1e6:.0f}\n")
    (folder / "energy_uj").write_text(f"{joules * 1e6:.0f}\n")
    return folder / "energy_uj"


def test_energy_of_processors_comes_round_and_counts_no_part_twice(tmp_path: Path) -> None:
    package = domain(tmp_path / "intel-rapl:0", "package-0", 250.0, 262.0)
    memory = domain(tmp_path / "intel-rapl:0:1", "dram", 10.0, 65.0)
    core = domain(tmp_path / "intel-rapl:0:0", "core", 1.0, 262.0)  # inside the package
    meter = energy.meter(True, node=tmp_path / "none", rapl=tmp_path)
    package.write_text("8000000\n")
    memory.write_text("15000000\n")
    core.write_text("200000000\n")
    meter.look()
    assert meter.joules == 0  # too early for a look
    meter.look(now=True)
    assert meter.joules == pytest.approx(262 - 250 + 8 + 5) and meter.of == "processor packages (RAPL), memory (RAPL)"
    package.unlink()
    meter.look(now=True)
    assert meter.joules is None  # a part is missing: no sum


def test_energy_of_a_node_is_read_by_its_first_rank_alone(tmp_path: Path) -> None:
    counter = tmp_path / "energy"
    counter.write_text("1000 J 1700000000 us\n")
    first, second = (energy.meter(one, node=counter, rapl=tmp_path) for one in (True, False))
    counter.write_text("1900 J 1700000100 us\n")
    for meter in (first, second):
        meter.look(now=True)
    assert first.joules == 900 and second.joules is None


def test_a_machine_that_tells_no_energy_is_not_guessed_at(tmp_path: Path) -> None:
    assert energy.meter(True, node=tmp_path / "none", rapl=tmp_path / "none").joules is None
