"""What tests of plans share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orbit2.plan.rehearse import staying


@pytest.fixture(autouse=True)
def own_notebook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What tests find out on changed sheets is nobody else's."""
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def one_world() -> Iterator[None]:
    """A test that plans on one mesh again and again makes its world once."""
    with staying():
        yield


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices of a megabyte have no room for what a GPU's library keeps."""
    monkeypatch.setattr("orbit2.plan.rehearse.BLAS_BYTES", 0)
