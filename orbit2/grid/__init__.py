"""Grids: centres AND edges, areas, nesting, names. The only place that knows geometry; the program asks for an `AnyGrid`."""

from orbit2.grid.attributes import from_attributes
from orbit2.grid.curvilinear import CurvilinearGrid, curvilinear
from orbit2.grid.latlon import Grid, from_centres, global_grid, uniform
from orbit2.grid.names import PRISM_SHIFT, US_BOX, named, spelled
from orbit2.grid.projected import ProjectedGrid, projected
from orbit2.grid.protocol import AnyGrid
from orbit2.grid.recognise import Layout, of_dataset
from orbit2.grid.sphere import EARTH_RADIUS_KM, KM_PER_DEGREE

__all__ = ["EARTH_RADIUS_KM", "KM_PER_DEGREE", "PRISM_SHIFT", "US_BOX", "AnyGrid", "CurvilinearGrid", "Grid", "Layout", "ProjectedGrid",
           "curvilinear", "from_attributes", "from_centres", "global_grid", "named", "of_dataset", "projected", "spelled",
           "uniform"]  # fmt: skip
