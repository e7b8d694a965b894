"""Test files with pytest's asserts written into them, once and on all cores, before the workers of pytest-xdist read them.

Each worker collects every file, and where Python writes no bytecode (PYTHONDONTWRITEBYTECODE), or none is there yet, each rewrites all of
them: half of what collecting costs. What stands here is pytest's own, and not public: where it changes, workers rewrite as they always do.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

import pytest


def _write(path: Path, config: pytest.Config) -> None:
    from _pytest.assertion import rewrite

    folder = rewrite.get_cache_dir(path)
    kept = folder / (path.name[:-3] + rewrite.PYC_TAIL)
    if rewrite._read_pyc(path, kept) is None and rewrite.try_makedirs(folder):
        told, code = rewrite._rewrite_test(path, config)
        rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, told, kept)


def _share(paths: Sequence[Path], config: pytest.Config) -> None:
    for path in paths:
        try:
            _write(path, config)
        except Exception:  # a mistake in the file, too: who collects it says so
            continue


def beforehand(folder: Path, config: pytest.Config) -> None:
    """Do so for every test file below `folder`."""
    paths = sorted([*folder.rglob("test_*.py"), *folder.rglob("conftest.py")], key=lambda path: path.stat().st_size)
    count = len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("fork")
    shares = [context.Process(target=_share, args=(paths[k::count], config)) for k in range(count)]
    for one in shares:
        one.start()
    for one in shares:
        one.join()
