"""The DAG: what each stage word runs, what runs again after a change, and that every profile can plan it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orbit2.config.load import load
from tests.workflow.conftest import STAGES, WHOLE, Project, retrieve, work

ROOT = Path(__file__).resolve().parents[2]
EVALUATION = {rule: WHOLE[rule] for rule in ("evaluate_task", "evaluate_merge", "diagnose_task", "diagnose_merge", "report_page")}


@pytest.fixture(scope="module")
def edges(shared_project: Any) -> set[tuple[str, str]]:
    """(needed rule, rule that needs it) over all targets."""
    graph = shared_project("--rulegraph", "dot", "--", "all", *STAGES).stdout
    names = dict(re.findall(r'(\d+)\[label = "(\w+)"', graph))
    return {(names[a], names[b]) for a, b in re.findall(r"(\d+) -> (\d+)", graph)}


def reached(edges: set[tuple[str, str]], target: str) -> set[str]:
    """The working rules that `target` needs, directly or not."""
    found, new = set(), {target}
    while new:
        found |= new
        new = {a for a, b in edges if b in new} - found
    return set(work(dict.fromkeys(found, 1)))


def test_every_stage_word_runs_what_it_needs(edges: set[tuple[str, str]]) -> None:
    needs = {stage: reached(edges, stage) for stage in STAGES}
    assert needs["retrieve"] == {"retrieve_source"}
    assert needs["regrid"] == needs["retrieve"] | {"regrid_init", "regrid_part", "regrid_finalise"}
    assert needs["statistics"] == needs["regrid"] | {"statistics_dataset"}
    assert needs["train"] == needs["statistics"] | {"train_model"}
    assert needs["finetune"] == needs["train"] | {"finetune_model"}
    assert needs["downscale"] == needs["finetune"] | {"downscale_task"}
    assert needs["evaluate"] == needs["downscale"] | {"evaluate_fit", "evaluate_part", "evaluate_task", "evaluate_merge"}
    assert needs["diagnose"] == needs["downscale"] | {"evaluate_fit", "evaluate_part", "diagnose_task", "diagnose_merge"}
    assert needs["report"] == needs["evaluate"] | needs["diagnose"] | {"report_page"}
    assert reached(edges, "all") == needs["report"]


def test_edges(edges: set[tuple[str, str]]) -> None:
    assert {("regrid_init", "regrid_part"), ("regrid_part", "regrid_finalise"), ("statistics_dataset", "train_model"),
            ("train_model", "finetune_model"), ("evaluate_merge", "report_page"), ("diagnose_merge", "report_page")} <= edges
    # statistics see the pairs only through the complete store, and no model ever sees a score
    assert ("regrid_part", "statistics_dataset") not in edges
    assert ("regrid_part", "evaluate_fit") not in edges and {("evaluate_fit", "evaluate_part"), ("evaluate_part", "evaluate_task"),
                                                                      ("evaluate_part", "diagnose_task")} <= edges
    assert not any(a.startswith(("evaluate", "diagnose")) and b.startswith(("train", "finetune", "downscale")) for a, b in edges)


def test_a_stage_alone(shared_project: Any) -> None:
    assert work(shared_project.planned("statistics")) == {
        "retrieve_source": 2, "regrid_init": 1, "regrid_part": 3, "regrid_finalise": 1, "statistics_dataset": 1}


@pytest.mark.parametrize("profile", ["local", "slurm", "dgx"])
def test_profiles_plan_the_whole_run(profile: str, shared_project: Any) -> None:
    assert work(shared_project.planned("all", profile=profile)) == WHOLE


TABLE_1 = {  # run: (datasets, sources of each with static fields, models, tasks)
    "era5_pretrain": (2, 4, 1, 2), "prism_pretrain": (1, 2, 1, 1), "daymet_pretrain": (1, 2, 1, 1), "daymet_1km": (1, 2, 1, 1),
    "foundation": (4, 8, 1, 4), "us_finetune": (5, 11, 2, 5), "imerg_global": (7, 15, 2, 6)}


@pytest.mark.parametrize(  # the last two hold what the others do
    "run", [pytest.param(run, marks=[] if run in ("foundation", "imerg_global") else pytest.mark.slow) for run in TABLE_1]
)
def test_the_published_runs_plan(run: str, shared_project: Any) -> None:
    datasets, sources, models, tasks = TABLE_1[run]
    planned = work(shared_project.planned("all", "--configfile", f"config/runs/{run}.yaml"))
    parts, months = planned.pop("regrid_part"), planned.pop("evaluate_part")
    assert months % 12 == 0 and tasks * 12 <= months  # of whole years
    assert parts > 300  # about a month each
    assert planned.pop("finetune_model", 0) == models - 1
    compared = int(run in ("us_finetune", "imerg_global", "orbit2"))  # the foundation model on the fine-tuned one's task
    assert planned == {"retrieve_source": sources, "regrid_init": datasets, "regrid_finalise": datasets, "train_model": 1,
                       "statistics_dataset": min(datasets, 5),  # observations and inference inputs have none
                       "evaluate_fit": min(datasets, 5), "downscale_task": tasks + compared,
                       "evaluate_task": tasks, "diagnose_task": tasks, "evaluate_merge": 1, "diagnose_merge": 1,
                       "report_page": 1}


def test_orbit2_is_the_last_of_the_published_runs_under_a_name_of_its_own() -> None:
    """So it plans what that one plans; `chain` below follows every edge of it."""
    last, whole = (load(ROOT / f"config/runs/{run}.yaml").model_dump() for run in ("imerg_global", "orbit2"))
    assert {key for key in whole if whole[key] != last[key]} == {"label", "report"} and list(whole["downscale"]) == list(last["downscale"])


def test_a_task_in_blocks_is_init_then_blocks_then_finalise(project: Any) -> None:
    name = "quarter_degree"
    changed = ("--config", f'set=["downscale.{name}.blocks=3"]')
    said = project.text("-n", "-p", "all", *changed)
    planned = dict(re.findall(r"^(downscale_\w+) +(\d+)$", said, flags=re.MULTILINE))
    assert planned == {"downscale_task": "3", "downscale_init": "1", "downscale_block": "3", "downscale_finalise": "1"}
    printed = re.findall(r"Shell command: .*?(orbit2 downscale .*--block .*)", said)
    parts = {line.split("--block ")[1].split()[0]: "--receipt" in line for line in printed}
    assert parts == {"init": True, "0/3": True, "1/3": True, "2/3": True, "finalise": False}
    graph = project("--dag", "dot", *changed, "--", "all").stdout
    labels = dict(re.findall(r'(\d+)\[label = "([a-z_]+)', graph))
    links = {(labels[a], labels[b]) for a, b in re.findall(r"(\d+) -> (\d+)", graph)}
    assert {("downscale_init", "downscale_block"), ("downscale_block", "downscale_finalise"), ("downscale_finalise", "evaluate_part"),
            ("evaluate_part", "diagnose_task")} <= links
    assert ("downscale_block", "evaluate_part") not in links and ("downscale_init", "downscale_finalise") not in links


def test_shell_lines_are_plain_commands(shared_project: Any) -> None:
    printed = re.findall(r"Shell command: (.*)", shared_project.text("-n", "-p", "all"))
    lines = [line for line in printed if line != "None"]  # target rules have none
    assert len(lines) == sum(WHOLE.values())
    for line in lines:
        assert re.fullmatch(r"\s*logged \S+\.log orbit2 (\w+) .*", line), line


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """As if everything had been run: every slice and output exists, recorded by Snakemake itself. For dry runs only."""
    project = Project(tmp_path_factory.mktemp("finished"))
    summary = project("--summary", "all").stdout
    shutil.copytree(project.folder / ".snakemake/orbit2", project.folder, dirs_exist_ok=True)  # what a real run would be told
    for line in summary.splitlines()[1:]:
        path = project.folder / line.split("\t")[0]
        (path.parent if path.suffix else path).mkdir(parents=True, exist_ok=True)  # only folders have no suffix
        if path.suffix:
            path.touch()
    for receipt in [*project.folder.glob("results/data/*/finalised.json"), *project.folder.glob("results/*/downscale/*.json")]:
        product = receipt.with_suffix(".zarr") if receipt.parent.name == "downscale" else receipt.with_name("pairs.zarr")
        product.mkdir()
        (product / "zarr.json").touch()
    for receipt in project.folder.glob("results/*/evaluate/*/parts/*.json"):
        receipt.with_suffix(".h5").touch()
    project("--touch", "all")
    return project


def test_only_what_depends_on_a_key_runs_again(finished: Project) -> None:
    project = finished
    assert project.planned("all") == {}

    def after(key: str) -> dict[str, int]:
        return work(project.planned("all", "--config", f'set=["{key}"]'))

    slices = {path: path.stat().st_mtime_ns for path in (project.folder / "results").rglob("*.json")}
    assert after("evaluate.bootstrap=5") == EVALUATION
    assert after("report.title=other") == {"report_page": 1}
    assert after("models.conus.train.steps=61") == {
        "finetune_model": 1, "downscale_task": 1, "evaluate_part": 1, "evaluate_task": 1, "evaluate_merge": 1,
        "diagnose_task": 1, "diagnose_merge": 1, "report_page": 1}
    assert after("downscale.test.wall_minutes=9") == after("models.reslim.train.threads=1") == {}
    again = {rule: WHOLE[rule] for rule in ("diagnose_task", "diagnose_merge", "report_page")}  # of kept days: no part is made anew
    (project.folder / "basins.geojson").touch()
    ice = "report.thresholds={ice: {use: frost, variable: air_temperature, below: -5, units: degC}}"
    assert after(f'{ice}","diagnose.regions={{basins: basins.geojson}}') == again
    assert after("diagnose.keep=100") == {**EVALUATION, "evaluate_part": WHOLE["evaluate_part"]}
    kept = {path: path.stat().st_mtime_ns for path in slices}
    assert kept == slices, "a dry run changed what queued jobs will read"


@pytest.fixture
def copied(finished: Project, tmp_path: Path) -> Project:
    """A copy of it to change."""
    shutil.copytree(finished.folder, tmp_path / "copy")
    project = object.__new__(Project)
    project.folder = tmp_path / "copy"
    return project


def test_a_receipt_whose_product_is_gone_does_not_count(copied: Project) -> None:
    project = copied
    run = project.folder / "results/demo"
    shutil.rmtree(run / "downscale/test.zarr")
    assert project.planned("downscale") == {"downscale_task": 1, "downscale": 1}
    assert (run / "downscale/test.json").is_file(), "a dry run removes nothing"
    said = project.text("-n", "evaluate", "--config", "set=[evaluate.bootstrap=5]")
    assert "results/demo/downscale/test.zarr/zarr.json is gone: it is made again when something needs it" in said
    shutil.rmtree(next((project.folder / "results/data").glob("*/pairs.zarr")))
    planned = project.planned("regrid")
    assert planned == {"regrid_init": 1, "regrid_part": 3, "regrid_finalise": 1, "regrid": 1}


def test_deleted_provider_files_count_only_while_they_are_needed(copied: Project) -> None:
    """Once the store is finished they may go, to save disk. test_provider_files.py and tests/faults/test_workflow_faults.py do it."""
    project = copied
    receipt = next(project.folder.glob("resources/sample/requests/era5_week-*.done.json"))
    receipt.write_text(json.dumps({"held": [{"file": "gone.nc", "bytes": 1}]}), encoding="utf-8")
    for other in project.folder.glob("resources/static/requests/*.done.json"):
        other.write_text("{}", encoding="utf-8")
    project("--touch", "all")
    assert project.planned("all") == {}
    data = next((project.folder / "results/data").glob("era5_week-*"))
    parts = sorted(data.glob("parts/[0-9]*.json"))
    for path in (data / "finalised.json", parts[-1]):
        path.unlink()
    rest = {"regrid_finalise": 1, "regrid": 1}
    assert project.planned("regrid") == {"regrid_part": 1, **rest}
    said = "resources/sample/v1/gone.nc is gone or cut short: "
    assert f"{said}era5_week still needs it, fetch it again: orbit2 retrieve sample --config" in project.text("-n", "regrid")
    for path in parts[:-1]:
        path.unlink()
    assert f"{said}what era5_week needs of it is fetched again" in project.text("-n", "regrid")
    assert project.planned("regrid") == {"regrid_part": 3, **rest} and receipt.is_file(), "a dry run removes nothing"


SECOND = """
include: config/runs/demo.yaml
label: {label}
datasets:
  second:
    include: config/datasets/era5_week.yaml
    statics: [land_sea_mask, orography]
    coarse_grid: global_6.0
    fine_grid: global_1.5
    split: {{train: {{start: "2026-03-{day}T00:00"}}}}
"""
NEW = {"retrieve_source": 2, "regrid_init": 1, "regrid_part": 3, "regrid_finalise": 1}


@pytest.mark.parametrize(("label", "day"), [  # the same run, and another one that shares a dataset with it; other days, the same days
    ("demo", 26), ("another", 25), pytest.param("demo", 25, marks=pytest.mark.slow), pytest.param("another", 26, marks=pytest.mark.slow)])
def test_a_new_dataset_concerns_no_finished_one(copied: Project, label: str, day: int) -> None:
    """Also where the provider's files were deleted after the store was finished. All of it is planned in one call."""
    project = copied
    (project.folder / "more.yaml").write_text(SECOND.format(label=label, day=day), encoding="utf-8")
    more = ("--configfile", "more.yaml")
    assert work(project.planned("regrid", *more)) == NEW
    if label == "demo":
        assert work(project.planned("all", *more)) == {"report_page": 1}  # nothing is done with the dataset yet, but the run has one more
    shutil.rmtree(project.folder / "resources")
    assert work(project.planned("regrid", *more)) == NEW


def test_settings_of_other_sources_concern_no_dataset(finished: Project) -> None:
    for key in ("sources.daymet.region=hi", "sources.era5.sst_over_sea=true"):
        assert work(finished.planned("all", "--config", f"set=[{key}]")) == {"report_page": 1}
    assert finished.planned("all", "--config", "set=[sources.transfer.max_gaps=0.5]") == {}


def test_other_parts_and_blocks_rerun_nothing_that_is_begun(copied: Project) -> None:
    changed = ("--config", 'set=["datasets.era5_week.samples_per_part=month", "downscale.test.blocks=3"]')
    project = copied
    begun = next((project.folder / "results/data").glob("*/parts/init.json"))
    begun.write_text('{"samples_per_part": 8, "samples_per_shard": 8}')
    receipt = project.folder / "results/demo/downscale/test.json"
    receipt.write_text('{"blocks": 1}')
    project("--touch", "--forceall", "all")
    assert project.planned("all", *changed) == {}


def test_parts_and_blocks_follow_the_configuration_where_nothing_is_begun(shared_project: Any) -> None:
    fresh = shared_project.planned("all", "--config", 'set=["datasets.era5_week.samples_per_part=month", "downscale.test.blocks=3"]')
    assert (fresh["regrid_part"], fresh["downscale_block"]) == (1, 3)


def test_a_comment_in_the_configuration_runs_nothing(finished: Project) -> None:
    path = finished.folder / "config/runs/demo.yaml"
    path.write_text("# another comment\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert finished.planned("all") == {}


def test_a_failing_command_fails_its_job(project: Any) -> None:
    retrieve(project.folder, "config/config.yaml")
    for source in ("sample", "static"):
        (project.folder / f"resources/{source}/v1/manifest.json").write_text("{ damaged", encoding="utf-8")
    done = project("regrid", check=False)
    printed = done.stdout + done.stderr
    assert done.returncode != 0
    assert "MissingOutputException" not in printed, "the exit code was lost in the pipe to tee"
    assert re.search(r"^error: resources/s\w+/v1/manifest.json: not valid JSON", printed, flags=re.MULTILINE)
    assert "Traceback" not in printed and "stopped with an error" in printed
    log = next((project.folder / "results/data").glob("*/logs/regrid_init.log"))
    assert re.match(r"=== try 1, \d{4}-\d\d-\d\d [\d:]+ UTC, on \S+\n(\S+ regrid: starting.*\n)?error: ", log.read_text(encoding="utf-8"))


def test_a_misspelt_key_is_one_line_and_exit_2(project: Any) -> None:
    done = project("-n", "all", "--config", 'set=["models.reslim.train.stpes=3"]', check=False)
    assert done.returncode == 2
    assert "error: config/config.yaml: unknown key 'models.reslim.train.stpes'; did you mean 'steps'?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("asked", ["store", "parent"])
def test_a_mistake_in_what_rules_are_given_is_one_line(project: Any, asked: str) -> None:
    """Whatever functions of rules look up (stores, fits, parents) is worked out before Snakemake asks them."""
    snakefile = project.folder / "workflow/Snakefile"
    refused = "def refuse(*_):\n    raise OrbitError('cannot be told', where='here', hint='see there')\n\n\n"
    patch = f"from orbit2.config import slices\nfrom orbit2.errors import OrbitError\n\n\n{refused}slices.{asked} = refuse\n"
    snakefile.write_text(patch + snakefile.read_text(encoding="utf-8"), encoding="utf-8")
    done = project("-n", "all", check=False)
    assert done.returncode == 2 and "error: here: cannot be told; see there\n" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_another_configuration_file(project: Any) -> None:
    (project.folder / "mine.yaml").write_text("include: config/runs/demo.yaml\nlabel: mine\n", encoding="utf-8")
    printed = project.text("-n", "-p", "report", "--configfile", "mine.yaml")
    assert "--out results/mine/report" in printed
    # the data and the models belong to no run: nothing of them is planned under another name
    folders = r"results/(?:data|models)/[\w-]+"
    assert set(re.findall(folders, printed)) == set(re.findall(folders, project.text("-n", "-p", "report")))
    assert not (project.folder / "results").exists(), "a dry run wrote into results/"


def test_lint_is_clean(shared_project: Any) -> None:
    assert "good condition" in shared_project.text("--lint")


def test_snakefmt_is_clean() -> None:
    formatter = Path(sys.executable).parent / "snakefmt"
    if not formatter.exists() and shutil.which("snakefmt") is None:
        pytest.skip("snakefmt is not installed")
    subprocess.run([str(formatter), "--check", "workflow"], cwd=ROOT, check=True, capture_output=True)


def test_rule_files_keep_the_house_rules() -> None:
    order = ["input", "output", "log", "benchmark", "wildcard_constraints", "localrule", "threads", "resources", "params", "message",
             "shell"]
    files = sorted((ROOT / "workflow/rules").glob("*.smk"))
    assert {file.stem for file in files} == {"common", *STAGES}
    for file in files:
        for text in re.split(r"^rule \w+:\n", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            fields = re.findall(r"^    (\w+):", text, flags=re.MULTILINE)
            assert fields == [field for field in order if field in fields], file.name
            if "shell" in fields:
                assert {"output", "log", "threads", "resources", "message"} <= set(fields), file.name
                # what may run as several ranks writes that table itself (parallel/usage.py): Snakemake would see the launcher
                assert ("benchmark" in fields) != ("launch=launch" in text), file.name
    assert len((ROOT / "workflow/Snakefile").read_text(encoding="utf-8").splitlines()) < 120
    assert len((ROOT / "workflow/rules/common.smk").read_text(encoding="utf-8").splitlines()) < 200


@pytest.mark.slow
def test_slices_that_a_run_adds_to_a_folder_that_is_there_are_seen(project: Any) -> None:
    """Snakemake looks through a folder once; what is written into it later (a new stage or task) is to count all the same."""
    tables = [f"results/demo/evaluate/{task}/metrics.parquet" for task in ("test", "conus")]
    project("--until", "retrieve_source", "--", *tables)
    for file in project.folder.glob("results/demo/config/part_*"):
        file.unlink()
    project("--until", "retrieve_source", "--", *tables)
    assert len(list(project.folder.glob("results/demo/config/part_*.json"))) == 4  # two tasks, their machine keys beside them
