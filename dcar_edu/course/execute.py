"""Execute a solution notebook and store its outputs with a stamp of how they were made."""

import base64
import contextlib
import io
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dcar_edu import __version__
from dcar_edu.checkpoint import write_atomically
from dcar_edu.course.lint import MAX_BYTES
from dcar_edu.course.source import code_hash, course_library, joined

ROOT = Path(__file__).resolve().parents[2]
"""The checkout this file lies in."""
_WIDGET = "application/vnd.jupyter.widget-view+json"


def to_bytes(notebook: dict[str, Any]) -> bytes:
    """A notebook file: sorted keys, one space of indent, text as lines, one newline at the end."""
    notebook["metadata"].pop("widgets", None)
    text = json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False)
    return (text + "\n").encode("utf-8")


@contextlib.contextmanager
def kernel_environment(root: Path, budget: str, *, strict: bool) -> Iterator[None]:
    """Set what a lesson's kernel reads from its environment; put everything back afterwards.

    A student's own work is never touched: ``DCAR_HOME`` is ``build/home`` unless it is set.
    """
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    changes = {
        "DCAR_BUDGET": budget,
        "DCAR_STRICT": "1" if strict else "0",
        "DCAR_WIDGETS": "0",
        "DCAR_HOME": str(Path(os.environ.get("DCAR_HOME") or root / "build" / "home").resolve()),
        # Threads that wait spinning made a lesson ten times slower beside another job.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "TQDM_DISABLE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(path),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    if budget == "smoke":  # nothing there is large enough to share: two threads took a third longer
        changes["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def execute_solution(path: Path, root: Path, budget: str | None = None, limit: int = 1800) -> bool:
    """Execute the built solution at ``path`` strictly and write its outputs back.

    Args:
        path: ``solutions/NN_slug.ipynb``.
        root: the repository.
        budget: smoke, cpu or gpu; ``$DCAR_BUDGET``, else cpu.
        limit: seconds a cell may take.

    Returns:
        True when every cell ran; otherwise the file is left as it was and the error is printed.

    Raises:
        ValueError: the executed notebook is too large even with smaller pictures.
    """
    nbformat, nbclient = course_library("nbformat"), course_library("nbclient")
    budget = budget or os.environ.get("DCAR_BUDGET") or "cpu"
    print(f"executing solutions/{path.name} at budget {budget} ...", flush=True)
    loaded = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    begun: list[str] = []
    client = nbclient.NotebookClient(
        loaded,
        timeout=limit,
        startup_timeout=120,
        kernel_name="python3",
        resources=resources,
        store_widget_state=False,
        record_timing=False,
        on_cell_execute=lambda cell, cell_index: begun.append(f"cell {cell_index} (id {cell.id})"),
    )
    started = time.monotonic()
    try:
        with kernel_environment(root, budget, strict=True):
            client.execute()
    except (
        nbclient.exceptions.CellExecutionError,
        nbclient.exceptions.CellTimeoutError,
        nbclient.exceptions.DeadKernelError,
    ) as error:
        print(
            f"solutions/{path.name} failed at {(begun or ['its start'])[-1]}:\n{plain(str(error))}"
        )
        return False
    notebook = json.loads(nbformat.writes(loaded))
    notebook["metadata"] = json.loads(path.read_text(encoding="utf-8"))["metadata"]
    clean_outputs(notebook)
    seconds = round(time.monotonic() - started)
    notebook["metadata"]["dcar_edu"] = stamp(notebook, root, budget, seconds)
    write_atomically(path, _fitted(notebook, path.name))
    print(f"executed solutions/{path.name} in {seconds} s")
    return True


def plain(text: str) -> str:
    """A traceback without the codes that colour it on a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def stamp(notebook: dict[str, Any], root: Path, budget: str, seconds: int) -> dict[str, Any]:
    """How the outputs were made: budget, device, commit, seconds, versions, and of which code."""
    versions = {
        "dcar_edu": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    return {
        "budget": budget,
        "commit": commit(root),
        "device": device_name(),
        "seconds": seconds,
        "source": code_hash(notebook),
        "versions": versions,
    }


def device_name() -> str:
    """The GPU's name, or "cpu"."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def commit(root: Path) -> str:
    """The commit checked out at ``root``, with "-dirty" when files were changed; or "unknown"."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def clean_outputs(notebook: dict[str, Any]) -> None:
    """Drop what would be noise in a file: widget views and state, timings, empty outputs."""
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        if isinstance(cell["source"], str):
            cell["source"] = cell["source"].splitlines(keepends=True)
        cell["metadata"].pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(_WIDGET, None)
        if cell["cell_type"] == "code":
            cell["outputs"] = [o for o in cell["outputs"] if o.get("data") != {}]


def _fitted(notebook: dict[str, Any], name: str) -> bytes:
    """The notebook's bytes; too large, its pictures get 256 colours, those of few colours first."""
    outputs = (output for cell in notebook["cells"] for output in cell.get("outputs", []))
    pictures = [output["data"] for output in outputs if "image/png" in output.get("data", {})]
    data = to_bytes(notebook)
    for picture in sorted(pictures, key=_colours):
        if len(data) <= MAX_BYTES:
            break
        buffer = io.BytesIO()
        _opened(picture).quantize(256).save(buffer, format="png", optimize=True)
        picture["image/png"] = base64.b64encode(buffer.getvalue()).decode("ascii") + "\n"
        data = to_bytes(notebook)
    if len(data) > MAX_BYTES:
        raise ValueError(
            f"solutions/{name} is {len(data) / 1e6:.1f} MB even with 256-colour pictures, at most "
            f"{MAX_BYTES / 1e6:.1f} MB. Show fewer or smaller figures."
        )
    return data


def _opened(picture: dict[str, Any]) -> Image.Image:
    encoded = re.sub(r"\s", "", joined(picture["image/png"]))
    return Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")


def _colours(picture: dict[str, Any]) -> int:
    opened = _opened(picture)
    return len(opened.getcolors(opened.width * opened.height) or ())
