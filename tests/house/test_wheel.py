"""The wheel alone, in an environment of its own, draws a picture from another folder."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
MODEL = "emoji-128"
pytestmark = pytest.mark.timeout(300)  # builds, installs and draws; seconds on an idle machine


def run(*command: object, cwd: Path, **environment: str) -> str:
    """Run a command without this checkout in reach; its output, or a failure that shows it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DCAR_")}
    kept.pop("PYTHONPATH", None)
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "-q", "--wheel", "--no-isolation", "-o", out, ROOT, cwd=out)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """The interpreter of a new environment: the wheel, and this environment's libraries."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    packages = Path(
        run(python, "-c", "import sysconfig as s; print(s.get_path('purelib'))", cwd=folder).strip()
    )
    # A folder named in a .pth file comes last, and .pth files inside it are not read: this
    # environment's editable dcar_edu stays out of sight.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    install = ["install", "-q", "--no-deps", "--no-index", wheel]
    run(sys.executable, "-m", "pip", "--python", python, *install, cwd=folder)
    return python


def test_the_wheel_holds_types_style_and_every_data_file(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(
        ["git", "ls-files", "dcar_edu", "data"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    wanted = {
        name.replace("data/", "dcar_edu/_data/", 1) if name.startswith("data/") else name
        for name in listed
    }
    wanted = {name for name in wanted if not Path(name).name.startswith(".")}
    assert "dcar_edu/py.typed" in wanted
    assert wanted - inside == set()


def test_the_wheel_is_what_is_imported(python, tmp_path):
    script = "import dcar_edu; from dcar_edu.checkpoint import data_folder as d; print(d())"
    found = Path(run(python, "-c", script, cwd=tmp_path).strip())
    assert python.parents[1] in found.parents
    assert found.name == "_data"


@pytest.mark.skipif(
    not (ROOT / "data" / "checkpoints" / MODEL / "config.json").is_file(),
    reason="the checkpoint that lesson 00 draws with is not trained yet",
)
def test_the_wheel_draws_a_picture(python, tmp_path):
    prompt = "a 3D emoji of a wolf on a pale blue background"
    environment = {"DCAR_HOME": str(tmp_path / "home"), "CUDA_VISIBLE_DEVICES": ""}
    command = [python.parent / "dcar", "generate", prompt, "--out", "wolf.png"]
    run(*command, cwd=tmp_path, **environment)
    with Image.open(tmp_path / "wolf.png") as picture:
        assert picture.size == (128, 128)
        assert max(high - low for low, high in picture.convert("RGB").getextrema()) > 50
