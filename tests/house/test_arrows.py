"""Which room may import which: a room imports only from floors below it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FLOORS = (
    {"checkpoint", "team"},
    {"images", "sharing"},  # write files with checkpoint's atomic writer
    {"text", "features", "state"},
    {"tokenizer", "generator", "data"},
    {"drawing", "editing"},
    {"parts"},
    {"editor"},
    {"pipeline"},
    {"metrics", "bench", "interop", "runs"},
    {""},  # `import dcar_edu`: the public names; only course and cli stand above them
    {"course"},
    {"cli"},
    {"__main__"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imported(tree: ast.Module, package: tuple[str, ...]):
    """Yield (line, dotted name) of everything a module imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{source}.{name.name}") for name in node.names)


def wrong_arrows(package: Path) -> list[str]:
    """Every import in ``package`` that does not point to a floor below, as "file:line: a -> b"."""
    rooms = {path.stem for path in package.iterdir()}
    wrong = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        room = "" if parts == ("__init__",) else parts[0]
        inside = (package.name, *parts[:-1])
        for line, name in imported(ast.parse(path.read_text(encoding="utf-8")), inside):
            first, *rest = name.split(".")
            if first != package.name or rest == ["__version__"]:
                continue
            other = rest[0] if rest and rest[0] in rooms else ""
            if other != room and FLOOR[other] >= FLOOR[room]:
                wrong.append(f"{path.relative_to(package)}:{line}: {room} -> {other or 'dcar_edu'}")
    return wrong


def test_every_room_has_a_floor():
    package = ROOT / "dcar_edu"
    rooms = {
        path.stem
        for path in package.iterdir()
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").is_file()
    }
    assert rooms <= FLOOR.keys(), f"give these a floor: {rooms - FLOOR.keys()}"


def test_arrows_point_down():
    assert wrong_arrows(ROOT / "dcar_edu") == []


@pytest.mark.parametrize(
    ("file", "text", "arrow"),
    [
        ("images.py", "from dcar_edu.data import emoji", "images -> data"),
        ("checkpoint.py", "from dcar_edu import images", "checkpoint -> images"),
        ("tokenizer/hybrid.py", "import dcar_edu.generator.model", "tokenizer -> generator"),
        ("tokenizer/hybrid.py", "from ..generator import model", "tokenizer -> generator"),
        ("generator/model.py", "def f():\n    from dcar_edu.course import check", "-> course"),
        ("pipeline.py", "from dcar_edu import DCAR", "pipeline -> dcar_edu"),
        ("course/check.py", "from dcar_edu.cli import main", "course -> cli"),
    ],
)
def test_a_wrong_arrow_is_found(tmp_path, file, text, arrow):
    package = tmp_path / "dcar_edu"
    for name in ("tokenizer", "generator", "data", "course"):
        (package / name).mkdir(parents=True)
    for name in ("images", "checkpoint", "pipeline", "cli"):
        (package / f"{name}.py").write_text("")
    (package / file).write_text(text)
    (found,) = wrong_arrows(package)
    assert arrow in found


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("__init__.py", "from dcar_edu.pipeline import DCAR"),
        ("tokenizer/hybrid.py", "from dcar_edu import images\nfrom .config import Config"),
        ("course/check.py", "from dcar_edu import DCAR, __version__\nimport torch"),
        ("pipeline.py", "from dcar_edu import __version__\nfrom dcar_edu.text import load"),
    ],
)
def test_a_right_arrow_is_left_alone(tmp_path, file, text):
    package = tmp_path / "dcar_edu"
    for name in ("tokenizer", "course"):
        (package / name).mkdir(parents=True)
    for name in ("images", "text", "pipeline", "cli"):
        (package / f"{name}.py").write_text("")
    (package / file).write_text(text)
    assert wrong_arrows(package) == []
