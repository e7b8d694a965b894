"""Interpolations of the coarse input that every model is compared with. Never learns anything from data."""

from orbit2.baselines.interpolation import METHODS, interpolate, methods_for

__all__ = ["METHODS", "interpolate", "methods_for"]
