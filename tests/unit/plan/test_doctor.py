"""The doctor tells what is missing and never tells a secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orbit2 import importing
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
    monkeypatch.setattr(doctor, "BACK_ENDS", {})
    with pytest.raises(SystemExit) as stop:
        main(["doctor"])
    assert stop.value.code == 2
    assert "Not ready: a-package-nobody-has" in capsys.readouterr().out


def test_a_library_that_breaks_says_why_and_takes_only_its_own_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("raises", "raise OSError('libx.so.1: cannot open\\nshared object file')"), ("crashes", "import os; os.abort()"),
                       ("sound", "")):  # fmt: skip
        (tmp_path / f"orbit2_{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    asked = importing.Asked(["orbit2_raises", "orbit2_sound", "orbit2_crashes", "json"])
    other = importing.Asked(["json"])
    assert asked.problem("orbit2_raises") == "OSError: libx.so.1: cannot open shared object file"
    assert asked.problem("orbit2_sound") is None
    assert asked.problem("orbit2_crashes") == "exit -6" and "not looked at" in str(asked.problem("json"))
    assert other.problem("json") is None and other.devices() is None


def test_all_libraries_are_begun_at_once_by_two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[list[str]] = []
    monkeypatch.setattr(doctor, "Asked", lambda modules: begun.append(modules))
    monkeypatch.setattr(doctor, "_begun", [])
    monkeypatch.setattr(doctor, "_version", lambda package: "1")
    doctor.begin()
    assert begun[0] == ["torch", "flash_attn"] and begun[1][-2:] == ["eccodes", "xesmf"] and "skimage" in begun[1]
    assert len(begun) == 2 and len(begun[0]) + len(begun[1]) == len(doctor.NEEDED) + len(doctor.BACK_ENDS)


def test_devices_are_told_as_torch_tells_them(monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"name": "H", "gib": 141.2, "bf16": True}

    class Told:
        def devices(self) -> dict[str, object]:
            return {"gpus": [one, {**one, "bf16": False}], "kind": "CUDA"}

    found = doctor._devices(Told())  # type: ignore[arg-type]
    assert [finding.text for finding in found[1:]] == ["H, 141 GiB, bf16 (CUDA)", "H, 141 GiB, no bf16 (CUDA)"]


def test_a_results_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert next(f for f in doctor._machine(tmp_path / "not" / "yet") if f.name == "disk").text.endswith(f"free at {tmp_path}")
