"""What the README shows is what its commands do."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
SHOWN = ROOT / "data" / "checkpoints" / "emoji-256-cpu" / "drawn.png"


def drawing_command() -> str:
    """The README's command that draws its first picture."""
    (command,) = re.findall(r"^\.venv/bin/dcar (generate .* --out drawn\.png)$", README, re.M)
    return command


def test_the_picture_and_the_command_are_there():
    assert SHOWN.relative_to(ROOT).as_posix() in README
    things = drawing_command().split('{"', 1)[1].split('"}', 1)[0].split('","')
    with Image.open(SHOWN) as sheet:
        assert sheet.size == (6 * 258 + 2, len(things) // 6 * 258 + 2)
    told = re.search(r"with (a wolf, .*?)\. We chose", " ".join(README.split()))
    assert told is not None
    assert told[1] == ", ".join(things[:-1]) + " and " + things[-1]


@pytest.mark.slow
def test_the_command_draws_the_same_picture(tmp_path):
    out = tmp_path / "drawn.png"
    command = drawing_command().replace("--out drawn.png", f"--out {out}")
    subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m dcar_edu {command}"], cwd=ROOT, check=True
    )
    with Image.open(out) as new, Image.open(SHOWN) as old:
        assert new.size == old.size
        apart = np.abs(np.asarray(new).astype(int) - np.asarray(old).astype(int))
    # Bit-equal on the machine that drew it; another CPU may round a pixel otherwise.
    assert apart.max() <= 2
    assert (apart > 0).mean() < 0.01
