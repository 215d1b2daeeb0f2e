"""Who is looking: a person in a live notebook, or a run that nobody can click in?"""

import os
import sys
from typing import Any


def in_kernel() -> bool:
    """Whether this code runs inside a notebook's kernel, live or not."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def is_live() -> bool:
    """Whether somebody can press a button in the notebook that runs this code.

    ``DCAR_WIDGETS=0`` says no, ``DCAR_WIDGETS=1`` says yes. Otherwise: a kernel started by
    Jupyter's server, Colab or VS Code is live; one started by nbval, papermill or CI is not.
    """
    asked = os.environ.get("DCAR_WIDGETS")
    if asked in ("0", "1"):
        return asked == "1" and in_kernel()
    if not in_kernel() or os.environ.get("CI"):
        return False
    names = sys.modules["IPython"].get_ipython().user_ns
    server = any(key in os.environ for key in ("JPY_SESSION_NAME", "VSCODE_PID"))
    return server or "google.colab" in sys.modules or "__vsc_ipynb_file__" in names


def publish(data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
    """Show one output (MIME type -> content) in a notebook; elsewhere print its plain text."""
    if not in_kernel():
        print(data["text/plain"])
        return
    sys.modules["IPython"].display.display(data, metadata=metadata or {}, raw=True)
