"""What a date in a configuration or on a command line means: its first second, and as an end its last. Never reads anything."""

from __future__ import annotations

import numpy as np

DAY_SECONDS = 86_400


def begin(time: str | np.datetime64) -> np.datetime64:
    """datetime64[s]. Raises ValueError for what is no ISO 8601 date or date-time."""
    found: np.datetime64 = _parsed(time).astype("datetime64[s]")
    return found


def end(time: str | np.datetime64) -> np.datetime64:
    """datetime64[s]; a bare date means its whole day. Raises ValueError for what is no ISO 8601 date or date-time."""
    value = _parsed(time)
    bare = np.datetime_data(value.dtype)[0] == "D"
    found: np.datetime64 = value.astype("datetime64[s]") + np.timedelta64(DAY_SECONDS - 1 if bare else 0, "s")
    return found


def _parsed(time: str | np.datetime64) -> np.datetime64:
    return np.datetime64(time) if isinstance(time, str) else time
