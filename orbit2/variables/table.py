"""The rows that orbit2 knows without being told: the default of the vocabulary. Never changed while a program runs."""

from __future__ import annotations

from dataclasses import replace

from orbit2.variables.row import Variable


def table() -> dict[str, Variable]:
    """The rows by canonical name, new each time."""
    rows = [
        Variable("land_sea_mask", "lsm", "land_area_fraction", "1", "static", "identity", "Land fraction", (0, 1)),
        Variable("orography", "orog", "surface_altitude", "m", "static", "zscore", "Surface altitude", (-500, 9000)),
        Variable(
            "slope",
            "slope",
            "magnitude_of_derivative_of_position_wrt_surface_altitude",
            "1",
            "static",
            "zscore",
            "Terrain slope at the grid's own resolution",
            (0, 5),
        ),
        Variable("latitude", "lat", "latitude", "degrees_north", "static", "zscore", "Latitude", (-90, 90), parity=-1),
        Variable("landcover", "lc", "vegetation_area_fraction", "1", "static", "identity", "Share of the cell under vegetation", (0, 1)),
        Variable(
            "high_vegetation_cover", "cvh", "vegetation_area_fraction", "1", "static", "identity",
            "Share of the cell under tall vegetation", (0, 1),
        ),
        Variable(
            "low_vegetation_cover", "cvl", "vegetation_area_fraction", "1", "static", "identity",
            "Share of the cell under low vegetation", (0, 1),
        ),
        Variable("lake_cover", "cl", "area_type", "1", "static", "identity", "Share of the cell under lakes", (0, 1)),
        Variable(
            "subgrid_orography_deviation", "sdor", "standard_deviation_of_surface_altitude", "m", "static", "zscore",
            "Standard deviation of the orography inside a cell", (0, 3000),
        ),
        Variable("2m_temperature", "t2m", "air_temperature", "K", "surface", "zscore", "2 m temperature", (150, 350)),
        Variable(
            "2m_temperature_max",
            "tmax",
            "air_temperature",
            "K",
            "surface",
            "zscore",
            "Maximum 2 m temperature",
            (150, 350),
            "time: maximum (interval: 24 hours)",
        ),
        Variable(
            "2m_temperature_min",
            "tmin",
            "air_temperature",
            "K",
            "surface",
            "zscore",
            "Minimum 2 m temperature",
            (150, 350),
            "time: minimum (interval: 24 hours)",
        ),
        Variable(
            "2m_temperature_max_1hr", "mx2t", "air_temperature", "K", "surface", "zscore",
            "Maximum 2 m temperature of the hour ending at the stamp",
            (150, 350), "time: maximum (interval: 1 hour)",
        ),
        Variable(
            "2m_temperature_min_1hr", "mn2t", "air_temperature", "K", "surface", "zscore",
            "Minimum 2 m temperature of the hour ending at the stamp",
            (150, 350), "time: minimum (interval: 1 hour)",
        ),
        Variable(
            "sea_surface_temperature", "sst", "sea_surface_temperature", "K", "surface", "zscore", "Sea surface temperature", (200, 330)
        ),
        Variable("10m_u_component_of_wind", "u10", "eastward_wind", "m s-1", "surface", "zscore", "10 m eastward wind", (-120, 120)),
        Variable(
            "10m_v_component_of_wind", "v10", "northward_wind", "m s-1", "surface", "zscore", "10 m northward wind", (-120, 120), parity=-1
        ),
        Variable(
            "mean_sea_level_pressure",
            "msl",
            "air_pressure_at_mean_sea_level",
            "Pa",
            "surface",
            "zscore",
            "Mean sea level pressure",
            (80000, 115000),
        ),
        Variable(
            "precipitation_rate",
            "tp",
            "lwe_precipitation_rate",
            "mm day-1",
            "surface",
            "log1p",
            "Precipitation (mean rate over the hour ending at the time stamp)",
            (0, 10000),
            "time: mean (interval: 1 hour)",
        ),
        Variable(
            "total_precipitation_24hr",
            "tp24",
            "lwe_thickness_of_precipitation_amount",
            "mm",
            "surface",
            "log1p",
            "Precipitation of the trailing 24 hours",
            (0, 3000),
            "time: sum (interval: 24 hours)",
        ),
        Variable(
            "volumetric_soil_water_layer_1",
            "swvl1",
            "volume_fraction_of_condensed_water_in_soil",
            "1",
            "surface",
            "zscore",
            "Volumetric soil water, 0-7 cm",
            (-0.01, 1),
        ),
    ]
    moist = {200: 0.002, 500: 0.02, 850: 0.05}  # kg kg-1: twice what has been observed, and fine enough steps when packed
    for level in (200, 500, 850):
        rows += [
            Variable(
                f"temperature_{level}", f"t{level}", "air_temperature", "K", "pressure", "zscore", f"Temperature at {level} hPa", (130, 350)
            ),
            Variable(
                f"u_component_of_wind_{level}",
                f"u{level}",
                "eastward_wind",
                "m s-1",
                "pressure",
                "zscore",
                f"Eastward wind at {level} hPa",
                (-200, 200),
            ),
            Variable(
                f"v_component_of_wind_{level}",
                f"v{level}",
                "northward_wind",
                "m s-1",
                "pressure",
                "zscore",
                f"Northward wind at {level} hPa",
                (-200, 200),
                parity=-1,
            ),
            Variable(
                f"specific_humidity_{level}",
                f"q{level}",
                "specific_humidity",
                "kg kg-1",
                "pressure",
                "zscore",
                f"Specific humidity at {level} hPa",
                (-0.0001, moist[level]),
            ),
        ]
    return {row.name: _with_partner(row) for row in rows}


def _with_partner(row: Variable) -> Variable:
    """A component of a wind with the other one and with its direction."""
    if "u_component" in row.name:
        return replace(row, partner=row.name.replace("u_component", "v_component"), component="east")
    if "v_component" in row.name:
        return replace(row, partner=row.name.replace("v_component", "u_component"), component="north")
    return row
