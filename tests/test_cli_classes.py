"""Names of classes: those of ImageNet, from a file, and how a class is found by one."""

from __future__ import annotations

import pytest

from rap_keras.cli.classes import cached_names, find_class, read_names


def test_names_of_imagenet_classes(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    assert cached_names(1000) is None
    file = tmp_path / ".keras" / "models" / "imagenet_class_index.json"
    file.parent.mkdir(parents=True)
    entries = ",".join(f'"{n}": ["n{n:08}", "class_{n}"]' for n in range(1000))
    file.write_text("{" + entries + "}")
    assert cached_names(1000)[7] == "class 7"
    assert cached_names(10) is None
    file.write_text("{")
    assert cached_names(1000) is None


def test_classes_by_name():
    names = ["crane", "crane, bird", "drake, duck"]
    assert find_class("crane", names, 3) == 0  # the whole name before a part
    assert find_class("Bird", names, 3) == 1
    assert find_class("crane, bird", names, 3) == 1
    with pytest.raises(ValueError, match="unknown class 'brid': did you mean 'crane, bird'"):
        find_class("brid", names, 3)
    with pytest.raises(ValueError, match=r"unknown class 'xyz'$"):
        find_class("xyz", names, 3)


def test_names_from_a_file(tmp_path):
    (tmp_path / "names.txt").write_bytes("\ufeffn01440764 tench, Tinca\r\nn0 odd\n\n".encode())
    assert read_names(tmp_path / "names.txt", 2) == ["tench, Tinca", "n0 odd"]
