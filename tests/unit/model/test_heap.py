"""Freed activations stay with the process: a second pass faults in almost no page."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from orbit2.model.heap import keep_heap
if sys.argv[1] == "kept":
    keep_heap()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        layers = [torch.ones(2 << 20, dtype=torch.uint8) for _ in range(20)]
        del layers
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
keep = torch.ones(1)
faults()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_freed_memory_is_not_faulted_in_again() -> None:
    def run(how: str) -> int:
        impatient = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}  # what glibc starts with
        done = subprocess.run([sys.executable, "-c", SCRIPT, how], env=impatient, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert run("kept") < 100 < run("given back")
