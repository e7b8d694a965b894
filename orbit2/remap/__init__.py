"""Regridding between grids: one class, weights cached on disk. Never fills missing cells with zero."""

from orbit2.remap.regridder import BACKENDS, METHODS, Regridder

__all__ = ["BACKENDS", "METHODS", "Regridder"]
