"""What tests of plans share."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_notebook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What tests find out on changed sheets is nobody else's."""
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices of a megabyte have no room for what a GPU's library keeps."""
    monkeypatch.setattr("orbit2.plan.rehearse.BLAS_BYTES", 0)
