"""dask, which orbit2 takes from here alone, with one mend: it may compute a field in place of another one.

Where dask joins a chain of tasks to one, it cuts the new name at 115 characters; four digits of a hash are all that then tells chains of
the same operations apart (dask/dask issues 9964, 12164). Of twenty fields, one computation in a hundred gave two the same name, and one
field the values of the other. `max_fused_key_length=None` is dask's own way to keep names whole.
"""

from __future__ import annotations

import dask.array as da
from dask import optimization
from dask.base import compute
from dask.delayed import delayed

__all__ = ["compute", "da", "delayed"]

optimization.default_fused_keys_renamer.__defaults__ = (None,)  # of `max_fused_key_length`, its one default; callers leave it out
