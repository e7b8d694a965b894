"""The doctor tells what is missing and never tells a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from orbit2.cli import main
from orbit2.plan import doctor


@pytest.fixture(scope="module")
def findings() -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.examine()}


def test_this_machine_is_ready(findings: dict[str, doctor.Finding]) -> None:
    assert [f for f in findings.values() if f.level == "missing"] == []
    assert findings["torch"].text[0].isdigit()
    assert "cores" in findings["cpu"].text
    assert doctor.render(list(findings.values())).endswith("Ready.")


def test_credentials_are_found_but_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDSAPI_KEY", "s3cr3t-cds")
    monkeypatch.setenv("EARTHDATA_TOKEN", "s3cr3t-nasa")
    text = doctor.render(doctor._credentials())
    assert text.count("found") == 2 and "not found" not in text
    assert "s3cr3t" not in text


def test_netrc_counts_as_earthdata_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("EARTHDATA_TOKEN", "EARTHDATA_USERNAME", "EARTHDATA_PASSWORD", "CDSAPI_KEY", "CDSAPI_RC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "not found" in doctor._credentials()[1].text
    (tmp_path / ".netrc").write_text("machine urs.earthdata.nasa.gov login me password s3cr3t\n", encoding="utf-8")
    (tmp_path / ".netrc").chmod(0o600)
    text = doctor.render(doctor._credentials())
    assert doctor._credentials()[1].text == "found" and "s3cr3t" not in text


def test_something_missing_exits_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "NEEDED", ("a-package-nobody-has",))
    monkeypatch.setattr(doctor, "_back_ends", list)
    with pytest.raises(SystemExit) as stop:
        main(["doctor"])
    assert stop.value.code == 2
    assert "Not ready: a-package-nobody-has" in capsys.readouterr().out


def test_a_results_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert next(f for f in doctor._machine(tmp_path / "not" / "yet") if f.name == "disk").text.endswith(f"free at {tmp_path}")
