"""What works where only the core libraries are installed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Not in the core: imports of these fail in the process that runs a script below.
ABSENT = """
import sys
for name in (
    "IPython accelerate beartype datasets huggingface_hub ipykernel ipywidgets jaxtyping "
    "jupyter_client jupytext matplotlib nbclient nbconvert nbformat nbval papermill pdoc pytest "
    "resvg_py scipy tokenizers torchmetrics tqdm transformers tyro"
).split():
    sys.modules[name] = None
"""


def run(script: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", ABSENT + script]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_module_imports():
    result = run(
        "import importlib, pkgutil, dcar_edu\n"
        "for module in pkgutil.walk_packages(dcar_edu.__path__, 'dcar_edu.'):\n"
        "    importlib.import_module(module.name)\n"
        "    print(module.name)\n"
    )
    assert result.returncode == 0, result.stderr
    assert "dcar_edu.course.doctor" in result.stdout.split()


def test_the_doctor_says_what_is_missing():
    result = run("from dcar_edu.cli import main\nprint('code', main(['doctor', '--quick']))")
    assert result.stderr == ""
    assert "[WARN] kernel: Jupyter is missing" in result.stdout
    assert "[FAIL] text encoder:" in result.stdout
    assert result.stdout.endswith("code 1\n")
