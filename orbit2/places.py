"""Where the workflow, the profiles and the shipped runs lie: at the top of a checkout, or in the installed package. Never writes there."""

from __future__ import annotations

from pathlib import Path

from orbit2.errors import OrbitError, one_of

PACKAGE = Path(__file__).resolve().parent
INSTALLED = PACKAGE / "share"  # where a wheel has them (pyproject.toml)
TOP = INSTALLED if (INSTALLED / "workflow/Snakefile").is_file() else PACKAGE.parent
CONFIG, PROFILES, SNAKEFILE = TOP / "config", TOP / "profiles", TOP / "workflow/Snakefile"
STAGES = ("retrieve", "regrid", "statistics", "train", "finetune", "downscale", "evaluate", "diagnose", "report")  # the workflow's words
HERE = Path("profiles")  # profiles of one's own, in the folder that a run is started in


def profile(name: str | Path) -> Path:
    """The folder of a profile: a path, or a name in ./profiles, then among those that ship. Raises OrbitError where there is none."""
    places = [Path(name), HERE / name, PROFILES / name]
    found = next((place for place in places if (place / "config.yaml").is_file()), None)
    if found is None:
        there = profiles()
        raise OrbitError("no such profile", where="--profile", got=str(name), hint=one_of(str(name), there),
                         allowed=f"{', '.join(there)}, or a folder with a config.yaml")  # fmt: skip
    return found


def profiles() -> list[str]:
    """Names of those that ship and of those in ./profiles."""
    return sorted({path.parent.name for place in (HERE, PROFILES) for path in place.glob("*/config.yaml")})


def shipped(path: str | Path) -> Path:
    """`path`, or, where no such file is, the one that a checkout has under it."""
    path = Path(path)
    return path if path.is_file() or not (TOP / path).is_file() else TOP / path


def run_file(path: str | Path) -> Path:
    """`path`, or, where no such file is, the shipped run that is meant: by its name (`demo`), or by its path in a checkout."""
    path = Path(path)
    by_name = CONFIG / "runs" / f"{path}.yaml"
    return by_name if not path.is_file() and len(path.parts) == 1 and by_name.is_file() else shipped(path)


def runs() -> list[str]:
    """Names of the shipped runs."""
    return sorted(path.stem for path in (CONFIG / "runs").glob("*.yaml"))
