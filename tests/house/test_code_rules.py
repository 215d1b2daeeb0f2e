"""Rules for the code itself: what may be imported, how long it may be, who is documented."""

import ast
import sys
from pathlib import Path

import pytest

import dcar_edu

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "dcar_edu"
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = [
    *MODULES,
    *sorted((ROOT / "lessons" / "src").glob("*.py")),
    *sorted((ROOT / "data").glob("*.py")),
    *sorted((ROOT / "tests").rglob("*.py")),
]

CORE = {"torch", "einops", "safetensors", "numpy", "PIL", "dcar_edu"}
BANNED = {"torchvision", "timm", "lpips", "pickle", "cPickle", "dill", "joblib", "shelve"}

# The official generator comes as a pickled .bin; torch's weights-only loader reads tensors alone.
PICKLED = "dcar_edu/interop/files.py"

MODULE_LINES, FUNCTION_LINES = 300, 40
# "file.py" or "file.py:function", each with the reason why splitting would hurt the reader.
LONG: dict[str, str] = {}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def roots(node: ast.AST) -> set[str]:
    """The top-level packages that an import statement names."""
    if isinstance(node, ast.Import):
        return {name.name.split(".")[0] for name in node.names}
    if isinstance(node, ast.ImportFrom) and not node.level:
        return {str(node.module).split(".")[0]}
    return set()


def banned(tree: ast.Module) -> list[str]:
    """Imports of what we never use, and loading that could run code."""
    found = []
    for node in ast.walk(tree):
        found += sorted(roots(node) & BANNED)
        if isinstance(node, ast.ImportFrom) and node.module == "torch":
            found += ["torch.load" for name in node.names if name.name == "load"]
        if isinstance(node, ast.Attribute) and node.attr in {"load", "save"}:
            found += [f"torch.{node.attr}"] * (ast.unparse(node.value) == "torch")
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found += ["allow_pickle"] * (ast.unparse(node.value) != "False")
    return found


def heavy(tree: ast.Module) -> set[str]:
    """Libraries beyond the core that are imported as soon as the module is."""
    found: set[str] = set()
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        found |= roots(node)
        todo += ast.iter_child_nodes(node)
    return found - CORE - set(sys.stdlib_module_names)


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring: prose may take the room it needs."""
    prose = node.body[0] if ast.get_docstring(node, clean=False) is not None else None
    return node.end_lineno - node.lineno + 1 - (prose.end_lineno - prose.lineno + 1 if prose else 0)


def too_long(path: Path) -> list[str]:
    """The module and the functions of ``path`` that are longer than the house allows."""
    name, text = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    found = [(name, lines)] if lines > MODULE_LINES else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = code_lines(node)
            found += [(f"{name}:{node.name}", lines)] if lines > FUNCTION_LINES else []
    return [f"{place} has {lines} lines" for place, lines in found if place not in LONG]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_banned_is_used(path):
    allowed = ["torch.load"] if path.relative_to(ROOT).as_posix() == PICKLED else []
    assert banned(parsed(path)) == allowed


def test_the_one_pickled_file_is_read_as_weights_only():
    calls = [
        node
        for node in ast.walk(parsed(ROOT / PICKLED))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    settings = {k.arg: ast.unparse(k.value) for call in calls for k in call.keywords}
    assert len(calls) == 1
    assert settings["weights_only"] == "True"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_optional_libraries_are_imported_where_they_are_used(path):
    assert heavy(parsed(path)) == set(), "move this import into the function that needs it"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_modules_and_functions_are_short(path):
    assert too_long(path) == []


@pytest.mark.parametrize("name", dcar_edu.__all__)
def test_public_names_are_documented(name):
    thing = getattr(dcar_edu, name)
    assert isinstance(thing, str) or len((thing.__doc__ or "").strip()) > 20


def test_the_contract_is_public():
    """The names of the design, section 4; other people's code calls exactly these."""
    promised = {
        "DCAR",
        "HybridTokenizer",
        "TokenizerConfig",
        "MaskedGenerator",
        "GeneratorConfig",
        "load_text_encoder",
        "train_tokenizer",
        "train_generator",
        "sample_tokens",
        "CaptionedEmoji",
        "CaptionedScenes",
    }
    assert promised <= set(dcar_edu.__all__)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def f():\n    import torchvision.transforms", ["torchvision"]),
        ("from timm.models import create_model", ["timm"]),
        ("import torch\nweights = torch.load(path)", ["torch.load"]),
        ("from torch import load", ["torch.load"]),
        ("import torch\ntorch.save(weights, path)", ["torch.save"]),
        ("numpy.load(path, allow_pickle=True)", ["allow_pickle"]),
        ("from torch.hub import load\nimport json\njson.load(file)", []),
    ],
)
def test_banned_finds(text, found):
    assert banned(ast.parse(text)) == found


def test_heavy_finds_only_what_is_imported_at_once():
    text = """
import torch, matplotlib.pyplot
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import jaxtyping
try:
    import tqdm
except ImportError:
    pass
class A:
    import scipy
    def f(self):
        import transformers
"""
    assert heavy(ast.parse(text)) == {"matplotlib", "tqdm", "scipy"}


def test_code_lines_leave_the_docstring_out():
    (node,) = ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    a = 1\n    return a').body
    assert code_lines(node) == 3
