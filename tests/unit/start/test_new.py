"""`orbit2 new` in this process: what it says, asks for, refuses and writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from orbit2.cli import start
from orbit2.config.dataset import DatasetConfig
from orbit2.config.load import from_mapping, load
from orbit2.errors import OrbitError, Unsaid
from orbit2.plan.machine import Machine
from orbit2.regrid.parts import plan_parts
from orbit2.start import jobs, own, size
from orbit2.start.asking import QUESTIONS, renamed, settled
from orbit2.start.look import look
from tests.data import own_archive
from tests.data.own_archive import call
from tests.data.quick_sizes import quick

FILES = ("--coarse", "my_data/coarse/*.nc", "--fine", "my_data/fine/*.nc")
SAID = ("--accumulated", "24h", "--coarse-day", "0", "--fine-day", "0")
QUICK = ("--device", "a100", "--hours", "1")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    own_archive.write(folder / "my_data", last="2001-03-31")
    return folder


@pytest.fixture
def here(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_data").symlink_to(archive / "my_data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORBIT2_CACHE", str(archive / "cache"))
    quick(monkeypatch)
    return tmp_path


def test_a_run_is_written_that_checks(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("new", "my_run", *FILES, *SAID, *QUICK, "--credit", "me, CC BY")
    printed = capsys.readouterr().out
    for words in ("3 files, 26x34 cells of 0.25 degrees", "90 times, daily, no gaps; calendar standard", "tas (degC)", "factor 4",
                  "fits on", "orbit2 run my_run.yaml"):  # fmt: skip
        assert words in printed
    text = (here / "my_run.yaml").read_text(encoding="utf-8")
    run = load(here / "my_run.yaml")
    dataset = run.datasets["mine"]
    assert dataset.outputs == ("2m_temperature", "precipitation_rate") and dataset.refinement == 4 and run.label == "my_run"
    assert dataset.files is not None and dataset.files.credit == "me, CC BY" and "# the truth" in text
    assert dataset.split.test.end == "2001-03-31" and run.models["reslim"].train.steps == size.EPOCHS * 55 // 8
    assert run.architecture_of("reslim").embed_dim == 128  # the largest that 55 samples are enough for
    call("new", "my_run", *FILES, *SAID, *QUICK, code=2)
    assert "is there already, and is not overwritten" in capsys.readouterr().err
    assert (here / "my_run.yaml").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("last, cores, fields, expected", [
    ("2001-12-31", 2, 1, 184),  # two jobs, of whole shards
    ("2001-12-31", 4, 1, 96),
    ("2001-12-31", 16, 1, None),  # twelve months go on at once
    ("2001-12-31", 2, 40_000, None),  # a month's values are worth a job
    ("2001-01-31", 1, 1, None),
    ("2010-12-31", 2, 100, 528),  # as many values as a job is worth
])  # fmt: skip
def test_small_fields_are_regridded_by_few_jobs(last: str, cores: int, fields: int, expected: int | None) -> None:
    rain, year = ["total_precipitation_24hr"], last[:4]
    split = {"train": {"start": "2001-01-01", "end": f"{year}-01-10"}, "validation": {"start": f"{year}-01-11", "end": f"{year}-01-20"},
             "test": {"start": f"{year}-01-21", "end": last}, "gap_days": 0}  # fmt: skip
    raw = {"source": "synthetic", "inputs": rain, "outputs": rain, "coarse_grid": "global_30", "fine_grid": "global_15", "split": split}
    model = {"datasets": ["mine"], "architecture": {"refinement": 2}}
    config = from_mapping({"label": "r", "datasets": {"mine": raw}, "models": {"m": model}})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(jobs, "WORTH", jobs.WORTH // fields)
        found = jobs.samples_per_part(config, "mine", cores)
        assert found == expected
        if found:
            dataset = DatasetConfig.model_validate({**raw, "samples_per_part": found})
            assert len(plan_parts(dataset)) < len(plan_parts(config.datasets["mine"]))


def test_what_nobody_says_is_named_by_its_flags(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for given, flag in (((), "--accumulated"), (SAID[:2], "--coarse-day and --fine-day"), (SAID[:4], "--fine-day")):
        call("new", "my_run", *FILES, *QUICK, *given, code=2)
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error:") and error.endswith(f"say it with {flag}")
    call("new", "my_run", *FILES[2:], *QUICK, *SAID, code=2)
    assert "say it with --factor" in capsys.readouterr().err and not list(here.glob("*.yaml"))


@pytest.mark.parametrize("words, error", [
    (("My Run", *FILES), "not a name of a run"),
    (("my_run", "--fine", "none/*.nc"), "none/*.nc"),
    (("my_run", "--fine", "a.nc", "b.nc"), "put patterns in quotes"),
    (("my_run",), "say what the run is made of"),
    (("my_run", *FILES, "--from", "era5"), "say what the run is made of"),
    (("my_run", "--from", "era6", "--region", "1,2,3,4"), "--from"),
    (("my_run", "--from", "era5"), "no region is given"),
    (("my_run", "--from", "era5", "--region", "60,35,-10,30"), "not a region"),
    (("my_run", "--from", "era5", "--region", "35,60,-10,30", "--years", "20-21"), "not years"),
    (("my_run", *FILES, "--region", "1,2,3,4"), "go with --from era5"),
    (("my_run", *FILES, "--factor", "one"), "not a number of cells"),
    (("my_run", *FILES, "--coarse-stamp", "ends"), "did you mean 'end'?"),
    (("my_run", *FILES, "--rename", "tas=temperature"), "no such variable"),
    (("my_run", *FILES, *SAID, "--outputs", "specific_humidity_500"), "no fine file holds 'specific_humidity_500'"),
    (("my_run", *FILES, *SAID, *QUICK[:2], "--hours", "1e-5"), "--hours: too little for a run; got '1e-05'; allowed: 50 steps"),
])  # fmt: skip
def test_bad_input_gives_one_clear_error(here: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], error: str) -> None:
    call("new", *words, code=2)
    told = capsys.readouterr().err
    assert error in told and "Traceback" not in told and not list(here.glob("*.yaml"))


def test_questions_are_asked_until_an_answer_is_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter(("nonsense", "4"))
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(answers))
    said: dict[str, object] = {}

    def work() -> object:
        if "factor" not in said:
            raise Unsaid("not known", ("factor",), where="--factor", hint="say it")
        return said["factor"]

    assert settled(work, said, start._asked) == 4 and "not a number of cells" in capsys.readouterr().err


def test_every_question_has_a_flag_of_the_command() -> None:
    import inspect

    options = {f"--{name.replace('_', '-')}" for name in inspect.signature(start.new).parameters}
    assert {question.flag for question in QUESTIONS.values()} <= options


def test_names_that_tell_nothing_are_said_by_rename(here: Path) -> None:
    import xarray as xr

    with xr.open_dataset("my_data/coarse/tas.nc") as data:
        data.rename(tas="warmth", lat="lat").to_netcdf(here / "odd.nc", engine="h5netcdf")
    with pytest.raises(Unsaid, match=r"no field of the fine files has a name.*got 'warmth'") as refused:
        look("fine", ["odd.nc"], {}, None)
    assert refused.value.keys == ("rename",)
    found = look("fine", ["odd.nc"], renamed("warmth=2m_temperature"), None)
    assert found.rename == {"warmth": "2m_temperature"} and found.names == ("2m_temperature",)
    with pytest.raises(OrbitError, match="no finer than the coarse"):
        own.new("r", {"coarse": ["odd.nc"], "fine": ["odd.nc"]}, {"rename": {"warmth": "2m_temperature"}, "day_starts.coarse": 0.0,
                "day_starts.fine": 0.0}, 1.0, Machine("a100"), here, lambda *_: "", lambda _: None)  # fmt: skip


def test_era5_of_a_region_is_sized(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("new", "alps", "--from", "era5", "--region", "43.2,48,5,15.5", "--years", "2010-2013", *QUICK)
    printed = capsys.readouterr().out
    assert "region 43,48,5,16: global_1@43,48,5,16 to global_0.25@43,48,5,16" in printed
    assert "era5: " in printed and " MB in " in printed and "queue each" in printed
    text = (here / "alps.yaml").read_text(encoding="utf-8")
    dataset = load(here / "alps.yaml").datasets["era5"]
    assert dataset.step_hours == 24 and dataset.refinement == 4 and dataset.split.test.start == "2013-01-01"
    assert yaml.safe_load(text)["models"]["reslim"]["architecture"]["conserve"] is True and text.startswith("# ERA5 over one region")
