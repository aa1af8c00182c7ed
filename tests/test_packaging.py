"""What is published: the wheel and the source distribution, built from a copy of the sources."""

from __future__ import annotations

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

import rap_keras

ROOT = Path(__file__).resolve().parent.parent
NOT_SOURCES = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "rap-keras-*")


def run(*command: object, cwd: Path, **variables: str) -> str:
    """What a command says, which must succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the wheel and the source distribution."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("packaging")
    shutil.copytree(ROOT, folder / "sources", ignore=NOT_SOURCES)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", "sources", cwd=folder)
    return folder / "dist"


@pytest.fixture(scope="module")
def in_the_wheel(built: Path) -> set[str]:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


@pytest.fixture(scope="module")
def in_the_sdist(built: Path) -> set[str]:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        return {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}


def files_of(*folders: str, of: Sequence[str] = ("*",)) -> set[str]:
    """The files of folders of the sources, relative to the root."""
    found = (path for folder in folders for pattern in of for path in (ROOT / folder).rglob(pattern))
    unwanted = {"__pycache__", ".ipynb_checkpoints"}
    names = {path.relative_to(ROOT) for path in found if path.is_file()}
    return {name.as_posix() for name in names if not unwanted & set(name.parts) and name.suffix != ".pyc"}


def test_the_version_is_in_one_place() -> None:
    """A literal in the package, which setuptools reads without importing TensorFlow."""
    tree = ast.parse((ROOT / "rap_keras" / "__init__.py").read_text("utf-8"))
    literals = [
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and [getattr(target, "id", None) for target in node.targets] == ["__version__"]
        and isinstance(node.value, ast.Constant)
    ]
    assert literals == [rap_keras.__version__]
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    assert setup["metadata"]["version"] == "attr: rap_keras.__version__"
    assert not re.search(r"^version:", (ROOT / "CITATION.cff").read_text("utf-8"), re.M)


def test_the_changelog_begins_with_this_version() -> None:
    found = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert found
    assert found[1] == rap_keras.__version__


@pytest.mark.slow
def test_twine_accepts_both(built: Path) -> None:
    pytest.importorskip("twine")
    files = list(built.iterdir())
    version = rap_keras.__version__
    # setuptools before 69.3 writes a hyphen into the name of a source distribution.
    names = {file.name.replace("rap-keras", "rap_keras") for file in files}
    assert names == {f"rap_keras-{version}-py3-none-any.whl", f"rap_keras-{version}.tar.gz"}
    run(sys.executable, "-m", "twine", "check", "--strict", *files, cwd=built)


@pytest.mark.slow
def test_the_wheel_has_the_package_and_nothing_else(in_the_wheel: set[str]) -> None:
    metadata = f"rap_keras-{rap_keras.__version__}.dist-info/"
    package = {name for name in in_the_wheel if not name.startswith(metadata)}
    assert package == files_of("rap_keras")
    assert {"rap_keras/py.typed", "rap_keras/models/weights/vgg.h5"} <= package
    for template in ("report.html", "table.md", "table.tex"):
        assert f"rap_keras/benchmark/templates/{template}" in package
    assert any(name.startswith(metadata) and name.endswith("LICENSE") for name in in_the_wheel)


@pytest.mark.slow
def test_the_source_distribution_can_be_tested(in_the_sdist: set[str]) -> None:
    assert files_of("rap_keras", "tests", "docs", "notebooks") <= in_the_sdist
    assert {"CHANGELOG.md", "LICENSE", "README.md", "mkdocs.yml", "ruff.toml", "setup.cfg"} <= in_the_sdist
    assert not [name for name in in_the_sdist if name.endswith(".pyc")]


@pytest.mark.slow
def test_the_wheel_alone_explains(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    site, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel, cwd=here)

    def command(*arguments: object) -> str:
        return run(sys.executable, *arguments, cwd=here, PYTHONPATH=str(site))

    place = command("-c", "import rap_keras; print(rap_keras.__file__)").splitlines()[-1]
    assert Path(place) == site / "rap_keras" / "__init__.py"
    assert command("-m", "rap_keras", "--version") == f"rap-keras, version {rap_keras.__version__}\n"
    said = command("-m", "rap_keras", "explain", "--method", "rap", "--output", "found")
    assert "5 explained, 0 skipped" in said
    assert len(list(here.glob("found/*.png"))) == 5
