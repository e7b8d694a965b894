"""What this machine's processor says of itself, and whether it gains by bfloat16. Never loads torch."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path

INFO = Path("/proc/cpuinfo")


@cache
def told(key: str) -> str:
    """What stands behind `key` (vendor_id, flags, model name) for the first core; "" where the system does not tell."""
    with suppress(OSError):
        for line in INFO.read_text(encoding="utf-8").splitlines():
            if line.partition(":")[0].strip() == key:
                return line.partition(":")[2].strip()
    return ""


def gains_by_bf16(amx: bool, avx512: bool, vendor: str) -> bool:
    """Whether a processor with these instructions multiplies bfloat16 faster than float32: with AMX, and with AVX512-BF16 where AMD made
    it. There a step of the 9.5M network takes 0.74 of float32's time (benchmarks/roofline.py); a step of the demo's takes 1.5 times as long
    on a Xeon without AMX, which multiplies as many numbers of either kind in a cycle."""
    return amx or (avx512 and vendor == "AuthenticAMD")
