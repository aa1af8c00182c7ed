"""The package's layout: the picture docs/images/architecture.svg is true, and there are no import cycles.

Everything is read from the sources; nothing is imported, which is fast.
"""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def floors() -> list[tuple[str, set[str]]]:
    """The boxes of docs/images/architecture.svg from top to bottom: their class and the modules that they name."""
    boxes: list[tuple[int, str, set[str]]] = []
    for element in ElementTree.parse(ROOT / "docs" / "images" / "architecture.svg").iter():
        kind = element.get("class", "")
        if kind in ("floor", "side"):
            boxes.append((int(element.attrib["y"]), kind, set()))
        elif kind == "name":
            boxes[-1][2].update((element.text or "").split())
    by_height: dict[tuple[int, str], set[str]] = {}
    for y, kind, names in boxes:
        by_height.setdefault((y, kind), set()).update(names)
    return [(kind, names) for (_, kind), names in sorted(by_height.items())]


def imports(module: Path) -> set[str]:
    """The package's top-level modules that a module or subpackage imports, including imports in functions."""
    found: set[str] = set()
    for file in module.rglob("*.py") if module.is_dir() else [module]:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "rap_keras":
                inner = str(node.module).split(".")[1:2]
                found.update(inner or (alias.name for alias in node.names))
    return found


def test_the_picture_of_the_modules_is_true() -> None:
    package = ROOT / "rap_keras"
    modules = {
        path.stem: path
        for path in package.iterdir()
        if (path.suffix == ".py" and not path.stem.startswith("__")) or (path / "__init__.py").exists()
    }
    assert set().union(*(names for _, names in floors())) == set(modules)
    assert len(modules) <= 12
    proper: set[str] = set().union(*(names for kind, names in floors() if kind == "floor"))
    above: set[str] = set()
    for kind, names in floors():
        # The modules that any floor may use come last in the picture, and use no floor themselves.
        forbidden = above | proper if kind == "side" else above
        for name in names:
            up = imports(modules[name]) & (forbidden | (names if kind == "side" else set())) - {name}
            assert not up, f"{name} uses {', '.join(sorted(up))}, which the picture has on a floor above"
        above |= names


def files_by_module() -> dict[str, Path]:
    """Every module of the package by its dotted name; a package by that of its `__init__.py`."""
    found = {}
    for file in (ROOT / "rap_keras").rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def module_imports() -> dict[str, set[str]]:
    """The modules of this package that each module imports, including imports in functions.

    The package's own `__init__.py` is left out: it imports nothing before a name is asked for.
    """
    files = files_by_module()
    found: dict[str, set[str]] = {}
    for module, file in files.items():
        nodes = ast.walk(ast.parse(file.read_text("utf-8")))
        froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
        names = {(node.module, alias.name) for node in froms for alias in node.names}
        used = {f"{of}.{name}" if f"{of}.{name}" in files else str(of) for of, name in names}
        found[module] = used & set(files) - {module, "rap_keras"}
    del found["rap_keras"]
    return found


def circle(uses: dict[str, set[str]]) -> set[str]:
    """The modules in import cycles, and those that use them; none if there is no cycle."""
    while True:
        free = {name for name, used in uses.items() if not used & set(uses)}
        if not free:
            return set(uses)
        uses = {name: used for name, used in uses.items() if name not in free}


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == {"a", "b", "c"}
    assert circle({"a": {"b", "d"}, "b": {"c"}, "c": set(), "d": set()}) == set()
    uses = module_imports()
    assert "rap_keras.engine.rules.layer_records" in uses["rap_keras.engine.rules.kinds"]
    assert "rap_keras.hosts.native" in uses["rap_keras.hosts.methods"]  # within a function


def test_no_modules_use_each_other_in_a_circle() -> None:
    assert circle(module_imports()) == set()


def test_the_picture_of_the_engine_is_true() -> None:
    """The engine's modules are named from top to bottom; none uses a module on a line above."""
    lines = [
        (element.text or "").partition(":")[0].split(", ")
        for element in ElementTree.parse(ROOT / "docs" / "images" / "architecture.svg").iter()
        if element.get("class") == "inner"
    ]
    uses: dict[str, set[str]] = {}
    for module, used in module_imports().items():
        if module.startswith("rap_keras.engine."):
            inner = {name.split(".")[2] for name in used if name.startswith("rap_keras.engine.")}
            uses.setdefault(module.split(".")[2], set()).update(inner)
    assert len(lines) >= 6
    above: set[str] = set()
    for names in lines:
        for name in names:
            assert not uses[name] & above, f"{name} uses {', '.join(sorted(uses[name] & above))}, a line above"
        above.update(names)


def test_no_two_modules_have_one_name() -> None:
    names = [module.split(".")[-1] for module, file in files_by_module().items() if file.name != "__init__.py"]
    assert {name for name in names if names.count(name) > 1} == set()


def imported_at(file: Path, top_only: bool = False) -> set[str]:
    """The packages that a file imports, including imports in functions unless `top_only`."""
    tree = ast.parse(file.read_text("utf-8"))
    found: set[str] = set()
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_who_knows_innvestigate() -> None:
    knowing = {
        file.relative_to(ROOT / "rap_keras").as_posix()
        for file in files_by_module().values()
        if "innvestigate" in imported_at(file)
    }
    plugin = {place for place in knowing if place.startswith("hosts/plugin/")}
    assert len(plugin) >= 4
    assert knowing - plugin <= {"hosts/methods.py", "benchmark/timings.py"}


def test_what_is_imported_only_when_it_is_needed() -> None:
    for file in files_by_module().values():
        place = file.relative_to(ROOT / "rap_keras").as_posix()
        at_top = imported_at(file, top_only=True)
        assert not at_top & {"matplotlib", "ray"}, place
        if not place.startswith("hosts/plugin/"):
            assert "innvestigate" not in at_top, place
        if not place.startswith("benchmark/"):
            assert not imported_at(file) & {"pandas", "pyarrow", "scipy"}, place


def test_tensorflows_keras_is_the_one_that_is_used() -> None:
    """The package `keras` may be a different one; only a file format is taken from it."""
    found = {place for place, file in files_by_module().items() if "keras" in imported_at(file)}
    assert found == {"rap_keras.models.files"}
