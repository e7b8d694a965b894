"""What tests of plans share."""

import pytest


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices of a megabyte have no room for what a GPU's library keeps."""
    monkeypatch.setattr("orbit2.plan.rehearse.BLAS_BYTES", 0)
