"""`orbit2 doctor --bundle`: what helps to answer a question, and no secret."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from orbit2.errors import OrbitError
from orbit2.files import write_json
from orbit2.plan import bundle

TOKEN = "eyJ0eXAiOiJKV1QiLCJvcmlnaW4i.eyJ0eXBlIjoiVXNlciIsInVpZCI6Im1lIiwiZXhwIjo.abcDEF123_-456abcDEF"
SECRETS = ("s3cr3t-cds-key", "s3cr3t-netrc-word", "my-earthdata-name", "s3cr3t-env", "s3cr3t-in-address", "s3cr3t-header", TOKEN)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home, root = tmp_path / "home" / "someone", tmp_path / "work"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    for name in ("CDSAPI_RC", "CDSAPI_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EARTHDATA_PASSWORD", "s3cr3t-env")
    (home / ".cdsapirc").write_text("url: https://cds.climate.copernicus.eu/api\nkey: s3cr3t-cds-key\n", encoding="utf-8")
    (home / ".netrc").write_text("machine urs.earthdata.nasa.gov login my-earthdata-name password s3cr3t-netrc-word\n", encoding="utf-8")
    (home / ".netrc").chmod(0o600)
    write_json(root / "results/demo/config/report.json", {"run": {"label": "demo", "folder": str(home / "data")}})
    log = root / "results/models/reslim-1a2b3c4d/logs/train.log"
    log.parent.mkdir(parents=True)
    log.write_text("x" * (bundle.TAIL + 5) + f"\nstep 7/800 in {home}\nretry http://me:s3cr3t-in-address@host/x\n"
                   f"Authorization: Bearer s3cr3t-header\n"
                   f"key s3cr3t-cds-key, env s3cr3t-env, {TOKEN}, my-earthdata-name, s3cr3t-netrc-word\n", encoding="utf-8")
    (root / ".snakemake/log").mkdir(parents=True)
    (root / ".snakemake/log/2026.snakemake.log").write_text("Select jobs to execute...\n", encoding="utf-8")
    return root


def contents(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {name.removeprefix("orbit2-bundle/"): archive.read(name).decode() for name in archive.namelist()}


def test_it_holds_versions_runs_and_the_ends_of_logs_but_no_secret_and_no_home(place: Path) -> None:
    bundle.bundle(place / "b.zip", "Ready.", place)
    found = contents(place / "b.zip")
    assert found["doctor.txt"] == "Ready." and "torch==" in found["versions.txt"] and '"label": "demo"' in found["runs/demo.json"]
    log = found["logs/results/models/reslim-1a2b3c4d/logs/train.log"]
    assert "step 7/800 in ~" in log and log.startswith("x") and len(log) < bundle.TAIL + 1000 and "host/x" in log
    assert found["logs/.snakemake/log/2026.snakemake.log"].startswith("Select jobs")
    everything = "".join(found.values()) + "".join(found)
    assert [secret for secret in SECRETS if secret in everything] == [] and str(place.parent / "home") not in everything
    assert "1a2b3c4d" in everything  # a hash is no secret


def test_only_the_newest_logs_are_taken(place: Path) -> None:
    for number in range(bundle.LOGS + 3):
        (place / f"results/demo/logs/{number}").mkdir(parents=True)
        (place / f"results/demo/logs/{number}/a.log").write_text("a", encoding="utf-8")
    assert len([name for name in bundle.bundle(place / "b.zip", "", place) if name.startswith("logs/")]) == bundle.LOGS


def test_nothing_else_is_overwritten_and_a_slip_is_one_line(place: Path) -> None:
    mine = place / "mine.zip"
    mine.write_bytes(b"mine")
    slips = ((mine, None, "something else"), (place / "b.txt", None, ".zip"), (place / "b.zip", place / "no.yaml", "not found"))
    for out, run, word in slips:
        with pytest.raises(OrbitError, match=word):
            bundle.bundle(out, "", place, run)
    assert mine.read_bytes() == b"mine" and not (place / "b.zip").exists()
    bundle.bundle(place / "b.zip", "one", place)
    bundle.bundle(place / "b.zip", "two", place)
    assert contents(place / "b.zip")["doctor.txt"] == "two"
