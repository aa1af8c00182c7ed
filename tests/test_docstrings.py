"""What is said of the public names, read from the sources: nothing is imported, so that it takes no time.

Public is what the API pages show, `docs/api/*.md`: of a package the names in its `__all__`, of a module all names
without an underscore.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Union

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs" / "api").glob("*.md"))
# The first of a page; others are names in it that need a line of their own.
MODULES = sorted(re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.M)[0] for page in PAGES)

Node = Union[ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign]


class Public(NamedTuple):
    """A public name: what it is, its docstring, the class that a method is of, and the `__init__` of a class."""

    name: str
    node: Node
    text: str
    of: ast.ClassDef | None = None
    init: ast.FunctionDef | None = None


def source(module: str) -> tuple[Path, ast.Module]:
    """The file of a module of this package, and what is in it."""
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return file, ast.parse(file.read_text("utf-8"))


def defined(tree: ast.Module) -> dict[str, tuple[Node, str]]:
    """What a module defines at its top level, with the docstrings; a constant's is the string behind it."""
    found: dict[str, tuple[Node, str]] = {}
    for node, after in zip(tree.body, [*tree.body[1:], None]):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = node, ast.get_docstring(node) or ""
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            text = (
                after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            )
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    found[target.id] = node, str(text)
    return found


def imported(tree: ast.Module) -> dict[str, str]:
    """The module that each name comes from, of those that a module imports from this package."""
    return {
        alias.asname or alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("rap_keras")
        for alias in node.names
    }


def public_names(tree: ast.Module) -> list[str]:
    """`__all__`; without one the functions, classes and constants that have no underscore."""
    found = defined(tree)
    if "__all__" in found:
        node = found["__all__"][0]
        assert isinstance(node, ast.Assign)
        return list(ast.literal_eval(node.value))
    return [
        name
        for name, (node, _) in found.items()
        if not name.startswith("_") and (isinstance(node, (ast.FunctionDef, ast.ClassDef)) or name.isupper())
    ]


def bases(node: ast.ClassDef, here: ast.Module) -> Iterator[Node]:
    """The classes of this package that a class is derived from."""
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in defined(here):
            yield defined(here)[base.id][0]
        elif isinstance(base, ast.Name) and base.id in imported(here):
            yield defined(source(imported(here)[base.id])[1])[base.id][0]


def init_of(node: Node, here: ast.Module) -> ast.FunctionDef | None:
    """The `__init__` of a class, its own or one that it inherits."""
    if not isinstance(node, ast.ClassDef):
        return None
    for owner in (node, *bases(node, here)):
        for method in owner.body if isinstance(owner, ast.ClassDef) else ():
            if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                return method
    return None


def public(module: str) -> Iterator[Public]:
    """All public names of a module, methods and properties among them, also those of a private base class."""
    _, tree = source(module)
    for name in public_names(tree):
        here = tree
        while name not in defined(here):
            _, here = source(imported(here)[name])
        node, text = defined(here)[name]
        yield Public(f"{module}.{name}", node, text, init=init_of(node, here))
        if isinstance(node, ast.ClassDef):
            for owner in (node, *bases(node, here)):
                assert isinstance(owner, ast.ClassDef)
                for method in owner.body:
                    if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                        text = ast.get_docstring(method) or ""
                        yield Public(f"{module}.{name}.{method.name}", method, text, node)


NAMES = [found for module in MODULES for found in public(module)]
CALLABLE = [found for found in NAMES if isinstance(found.node, (ast.FunctionDef, ast.ClassDef))]


def by_name(names: list[Public]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("found", names, ids=[found.name for found in names])


def section(text: str, title: str) -> dict[str, str]:
    """The entries of a Google section, such as Args, by name."""
    match = re.search(rf"^{title}:\n((?:[ ]+.*\n?|\n)+)", text, re.M)
    lines = match.group(1) if match else ""
    return dict(re.findall(r"^    [*]{0,2}([\w.]+):[ ]((?:.*\n?)(?:^(?: {5,}.*)?\n?)*)", lines, re.M))


def signature(found: Public) -> list[ast.arg]:
    """The parameters of a function, of a method or of a class's own `__init__`, without self and cls."""
    node = found.node
    if isinstance(node, ast.ClassDef):
        if found.init is None:
            return []
        node = found.init
    assert isinstance(node, ast.FunctionDef)
    return [arg for arg in (*node.args.args, *node.args.kwonlyargs) if arg.arg not in ("self", "cls")]


def raised(node: ast.AST) -> set[str]:
    """Classes of exceptions that a function raises in its own body."""
    found: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Raise) and child.exc is not None:
            what = child.exc.func if isinstance(child.exc, ast.Call) else child.exc
            name = what.attr if isinstance(what, ast.Attribute) else getattr(what, "id", "")
            found |= {name} if name[:1].isupper() else set()
        if not isinstance(child, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            found |= raised(child)
    return found


def test_the_api_pages_have_the_public_modules() -> None:
    wanted = {
        "rap_keras",
        *(f"rap_keras.{name}" for name in ("datasets.images", "hosts.methods", "models", "visualization")),
    }
    assert wanted <= set(MODULES)
    assert len(NAMES) > 80
    assert {"rap_keras.RAP.analyze", "rap_keras.PatternNet.fit"} <= {found.name for found in NAMES}


@by_name(NAMES)
def test_the_first_line_is_a_sentence(found: Public) -> None:
    first = found.text.strip().partition("\n")[0]
    assert re.match(r"[A-Z`\d(|]", first), f"begins with {first[:20]!r}"
    assert first.endswith((".", "?")), f"ends with {first[-20:]!r}"
    assert len(first.split()) >= 3, first


@by_name(CALLABLE)
def test_arguments_are_those_of_the_signature(found: Public) -> None:
    documented = section(found.text, "Args")
    names = {arg.arg for arg in signature(found)}
    if documented:
        assert names <= set(documented), f"not in Args: {names - set(documented)}"
        takes_others = re.search(r"^    [*]{2}\w+:", found.text, re.M)
        assert takes_others or set(documented) <= names, f"no such parameter: {set(documented) - names}"


ARRAYS = re.compile(r"ndarray|ArrayLike|Tensor|\bArrays\b|Relevances?\b")
SHAPE = re.compile(
    r"\((?:[A-Z]|height|\.\.\.)(?:, ?[\w.* +-]+|,)*\)"
    r"|\bshaped as\b|\bshapes? of\b|\bsame shape\b|'s shape\b|\bone per \w+|as in `|as for `|as the model takes"
)


@by_name(
    [found for found in CALLABLE if any(ARRAYS.search(ast.unparse(a.annotation or a)) for a in signature(found))]
)
def test_arrays_have_shapes(found: Public) -> None:
    documented = section(found.text, "Args")
    for arg in signature(found):
        if arg.annotation is not None and ARRAYS.search(ast.unparse(arg.annotation)):
            assert re.search(rf"\b{arg.arg}\b", found.text), f"nothing is said of {arg.arg}"
            assert SHAPE.search(documented.get(arg.arg, found.text)), f"{arg.arg} has no shape"


@by_name([found for found in CALLABLE if isinstance(found.node, ast.FunctionDef)])
def test_paths_are_told_of(found: Public) -> None:
    """What the file is: in Args, in the first line or by the parameter's name."""
    for arg in signature(found):
        if arg.annotation is not None and re.search(r"\bPath\b", ast.unparse(arg.annotation)):
            assert re.search(rf"\b{arg.arg}\b|\bfiles?\b|\bfolders?\b", found.text), arg.arg


@by_name([found for found in CALLABLE if raised(found.node)])
def test_what_is_raised_is_in_raises(found: Public) -> None:
    node = found.node
    inits = (
        [n for n in node.body if getattr(n, "name", "") == "__init__"] if isinstance(node, ast.ClassDef) else []
    )
    told = {name.split(".")[-1] for name in section(found.text, "Raises")}
    told |= set(re.findall(r"[Rr]aises (\w+)", found.text))
    for part in inits or [node]:
        assert raised(part) <= told, f"not in Raises: {raised(part) - told}"


RECORDS = [
    found
    for found in CALLABLE
    if isinstance(found.node, ast.ClassDef) and any(isinstance(n, ast.AnnAssign) for n in found.node.body)
]


@by_name(RECORDS)
def test_fields_are_told_of(found: Public) -> None:
    assert isinstance(found.node, ast.ClassDef)
    fields = [
        n.target.id for n in found.node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    ]
    missing = [field for field in fields if not re.search(rf"\b{field}\b", found.text)]
    assert not missing, f"nothing is said of {', '.join(missing)}"


@by_name(CALLABLE)
def test_examples_are_in_a_section_of_their_own(found: Public) -> None:
    """Elsewhere Markdown makes quotations of `>>>`."""
    without = re.sub(r"^Examples:\n(?:[ ]+.*\n?|\n)+", "", found.text, flags=re.M)
    assert ">>>" not in without


def anchors(file: Path) -> set[str]:
    """What a link to a heading of a Markdown file may say behind the #."""
    lines = re.sub(r"^```.*?^```", "", file.read_text("utf-8"), flags=re.M | re.S)
    found = set(re.findall(r"\{ #([\w-]+) \}", lines))
    for heading in re.findall(r"^#+ (.*)$", lines, re.M):
        plain = re.sub(r"<[^>]+>|[^\w\s-]", "", heading.lower())
        found.add(re.sub(r"\s+", "-", plain.strip()))
    return found


MARKDOWN = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: no such file"
        if anchor:
            assert anchor in anchors(target), f"{link}: no such heading"


def test_every_page_is_in_the_navigation() -> None:
    navigation = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M)
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    assert sorted(navigation) == sorted(pages)
