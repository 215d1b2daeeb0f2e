"""Commands in processes of their own, which know nothing of the notebook that starts them."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import dcar_edu


def run_in_process(words: Sequence[str], folder: Path) -> str:
    """Run a command in a folder and give back what it prints; `dcar_edu` is this very one.

    Raises:
        RuntimeError: it failed; says with what.
    """
    library = str(Path(dcar_edu.__file__).resolve().parents[1])
    path = os.pathsep.join([library, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        list(words),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"'{' '.join(words[:4])} …' failed:\n{done.stdout[-2000:]}")
    return done.stdout
