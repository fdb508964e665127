"""Dependencies point one way: what a part may import, imports inside functions included."""

import ast
from pathlib import Path

import pytest

import overfit

ROOT = Path(overfit.__file__).parent

# part -> parts that it may import beside itself and `errors`; a part is a module or a package
# directly under overfit/.
ALLOWED = {
    "errors": set(),
    "processes": set(),
    "settings": set(),
    "method": {"methods"},  # the registry loads them by name
    "nn": set(),
    "coding": {"method", "nn"},  # numbers of methods
    "bases": {"coding", "io"},
    "meta": {"bases", "coding", "engine", "fitting", "io", "method", "processes", "settings"},
    "methods": {"nn", "bases", "coding", "method", "settings", "codecs", "io"},
    "engine": {"nn", "method"},
    "metrics": set(),
    "io": set(),
    "codecs": {"io", "metrics"},
    "decoding": {"bases", "clip_decoding", "method", "coding", "io"},
    "clip_decoding": {"bases", "method", "coding", "io"},
    "jobs": {"bases", "codecs", "decoding", "fitting", "io", "metrics", "overfit", "processes"},
    "fitting": {
        "bases", "clip_decoding", "coding", "decoding", "engine", "io", "method", "metrics",
        "settings",
    },
    "evaluation": {"codecs", "fitting", "io", "jobs", "method"},
    "report": {"decoding", "io", "jobs", "method", "metrics"},
    "sweeping": {"engine", "evaluation", "fitting", "io", "jobs", "method", "settings"},
    "display": set(),
    "watching": {"display", "io", "jobs"},
    "commands": {
        "bases", "clip_decoding", "codecs", "coding", "decoding", "display", "evaluation",
        "fitting", "io", "jobs", "meta", "method", "processes", "report", "settings", "sweeping",
        "watching",
    },
    "cli": {"commands", "io", "jobs", "overfit"},
    "overfit": {"decoding", "fitting", "io"},  # __init__.py
    "__main__": {"cli"},
}  # fmt: skip


def part_of(module: str) -> str:
    """The part that a dotted name belongs to."""
    names = module.split(".")
    return names[1] if len(names) > 1 else names[0]


def imports(path: Path) -> set[str]:
    """Dotted names under overfit that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                inside = ROOT / name.removeprefix("overfit.").replace(".", "/")
                is_module = inside.is_dir() or inside.with_suffix(".py").exists()
                found.add(name if node.module == "overfit" and is_module else node.module)
    return {name for name in found if name.split(".")[0] == "overfit"}


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(ROOT)) for p in FILES])
def test_imports_point_one_way(path):
    relative = path.relative_to(ROOT)
    own = "overfit" if relative.name == "__init__.py" and len(relative.parts) == 1 else (
        relative.parts[0].removesuffix(".py")
    )  # fmt: skip
    used = {part_of(name) for name in imports(path)} - {own, "errors"}
    assert used <= ALLOWED[own], f"{relative} imports {sorted(used - ALLOWED[own])}"


def test_methods_do_not_know_each_other():
    for path in (ROOT / "methods").glob("*/*.py"):
        others = {n.split(".")[2] for n in imports(path) if n.startswith("overfit.methods.")}
        assert others <= {path.parent.name}, path
