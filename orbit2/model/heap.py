"""Memory that a network frees is kept for its next layer. Changes no number; never called where a GPU computes."""

from __future__ import annotations

import ctypes
import mmap
import sys
from contextlib import suppress

from torch import Tensor

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
KEPT = 128 << 20  # bytes of free heap that stay with the process
PAGE = 2 << 20
LARGEST = 32 << 20  # glibc's upper limit for what may come from the heap


def keep_heap() -> None:
    """Have glibc keep freed activations: handing them back and faulting them in again costs about 5 % of a prediction on a CPU.

    Does nothing where the C library is another one.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl
        return
    mallopt(M_TRIM_THRESHOLD, KEPT)
    mallopt(M_MMAP_THRESHOLD, LARGEST)


def in_large_pages(tensor: Tensor) -> Tensor:
    """A large tensor that nothing was written to yet: on a CPU its memory then comes in pages of 2 MB, where Linux lets one ask.

    Making a page costs as much as filling it: a third of what unpacking a batch takes.
    """
    if sys.platform != "linux" or tensor.device.type != "cpu":
        return tensor
    start = -(-tensor.data_ptr() // PAGE) * PAGE
    length = (tensor.data_ptr() + tensor.nbytes) // PAGE * PAGE - start
    if length > 0:
        with suppress(AttributeError):  # a refusal changes nothing
            ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE)
    return tensor
