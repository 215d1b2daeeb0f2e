"""Rules for the repository: one version, one list of requirements, no machine's paths, no bulk."""

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml

import dcar_edu
from dcar_edu.course.address import ADDRESS, RELEASE

ROOT = Path(__file__).resolve().parents[2]
MB = 10**6


def tracked() -> list[Path]:
    """Every file that git knows (and that was not just removed)."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    paths = [ROOT / name for name in names.split("\0") if name]
    return [path for path in paths if path.is_file()]


@cache
def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


# Written in pieces, so that this file does not hold what it looks for.
PRIVATE = [
    r"(?<![\w.}~])/" + folder
    for folder in ("work/", "root/", "tmp/", r"home/(?!me?\b)\w", r"Users/\w")
]
HOSTS = [
    "pypi" + r"\.org",
    "python" + r"hosted\.org",
    "registry" + r"\.npmjs",
    "download" + r"\.pytorch",
    "deb" + r"\.debian",
]


@pytest.mark.parametrize("pattern", [*PRIVATE, *HOSTS])
def test_no_machine_path_and_no_registry_host(pattern):
    found = [
        f"{path.relative_to(ROOT)}: ...{text[max(0, hit.start() - 20) : hit.end() + 20]}..."
        for path in tracked()
        for text in [text_of(path)]
        for hit in re.finditer(pattern, text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "open('/" + "tmp/a')",
        '"/' + 'root/x"',
        "/" + "home/jane/a",
        "at /" + "work/main",
        "/" + "Users/j",
    ],
)
def test_a_machine_path_is_found(line):
    assert any(re.search(pattern, line) for pattern in PRIVATE)


def test_a_relative_path_is_left_alone():
    assert not any(re.search(p, "build/home/x $DIR/tmp/x ~/work/x a/root/") for p in PRIVATE)


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def conda_name(requirement: str) -> str:
    return requirement.replace("torch", "pytorch", 1)


def test_environment_and_pyproject_ask_for_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    from_conda = [entry for entry in environment if isinstance(entry, str)]
    (from_pip,) = [entry["pip"] for entry in environment if isinstance(entry, dict)]
    core, extras = project()["dependencies"], project()["optional-dependencies"]
    wanted = [conda_name(name) if name.startswith("torch>") else name for name in core]
    assert sorted(from_conda) == sorted(
        [f"python{project()['requires-python']},<3.14", "pip", *wanted]
    )
    assert sorted(from_pip) == sorted({name for extra in extras.values() for name in extra})


def test_the_version_is_written_once_and_agrees():
    version = dcar_edu.__version__
    assert "version" in project()["dynamic"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"v{version}" == RELEASE


def test_the_address_is_written_once():
    holders = [path.relative_to(ROOT) for path in tracked() if ADDRESS in text_of(path)]
    sources = [path for path in holders if path.suffix != ".ipynb"]
    assert sources == [Path("dcar_edu/course/address.py")]


def test_no_tracked_file_is_large():
    large = [path.name for path in tracked() if path.stat().st_size > 15 * MB]
    assert large == []


def test_data_and_checkpoints_stay_small():
    data = ROOT / "data"
    assert sum(path.stat().st_size for path in tracked() if data in path.parents) < 95 * MB


@pytest.mark.parametrize(
    "target",
    [
        "help",
        "setup",
        "course",
        "test",
        "test-lessons",
        "test-solutions",
        "check-sync",
        "lint",
        "notebooks",
        "docs",
        "bench",
        "checkpoints",
        "clean",
    ],
)
def test_make_knows_and_explains_every_target(target):
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(rf"^  make {target} ", helped.stdout, re.M)


def test_make_course_hands_its_options_on():
    command = ["make", "-n", "course", "BUDGET=cpu", "LESSONS=00 04", "VIEW=student", "FRESH=1"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    shown = " ".join(shown.replace("\\\n", " ").split())
    assert 'dcar course run --budget cpu --lessons "00 04" --view student --fresh' in shown
    assert f'DCAR_HOME="{ROOT}/build/home"' in shown


def test_make_test_never_picks_a_figure_backend():
    command = ["make", "-n", "-W", "Makefile", "test"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "MPLBACKEND" not in shown
    assert "DCAR_STRICT=1" in shown
