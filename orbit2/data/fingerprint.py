"""What a pair store holds, in a few hex digits, at the price of having opened it: two copies of one store have the same."""

from __future__ import annotations

import hashlib

from orbit2.data.pairs import SIDES, PairStore
from orbit2.files import to_text
from orbit2.times import seconds

SHARDS = 8  # files whose sizes are looked at, on each side
UNSAID = ("provenance", "code_version")  # by which revision it was made


def fingerprint(store: PairStore) -> str:
    """Of its attributes (grids, variables, packing, digests of its samples), times, missing shares, and the sizes of some shards."""
    digest = hashlib.sha256(to_text({key: value for key, value in store.attributes.items() if key not in UNSAID}).encode())
    digest.update(seconds(store.times).tobytes())
    for side in SIDES:
        digest.update(to_text(dict(store.root[side].attrs)).encode() + store.missing(side).tobytes())
        if store.variables(side):
            fields = store.array(side, "fields")
            count = -(-len(store.times) // (fields.shards or fields.chunks)[0])
            for number in range(0, count, max(1, count // SHARDS)):
                file = store.path / side / "fields/c" / str(number) / "0/0/0"
                digest.update(str(file.stat().st_size if file.is_file() else 0).encode())
    return digest.hexdigest()[:12]
