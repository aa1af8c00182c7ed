"""Names of classes: those of ImageNet, from a file, and how a class is found by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from rap_keras.explanation import class_names
from rap_keras.explanation.class_names import find_class, given_names, imagenet_names, own_names, read_names


@pytest.fixture
def class_index(tmp_path, monkeypatch) -> Path:
    """The file in which Keras keeps ImageNet's classes, which is not there yet and cannot be downloaded."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_HOME", raising=False)

    def offline():
        raise Exception("URL fetch failure on https://nowhere: None")  # what keras.utils.get_file raises

    monkeypatch.setattr(class_names, "_download", offline)
    file = tmp_path / ".keras" / "models" / "imagenet_class_index.json"
    file.parent.mkdir(parents=True)
    return file


def filled(file: Path) -> None:
    entries = ",".join(f'"{n}": ["n{n:08}", "class_{n}"]' for n in range(1000))
    file.write_text("{" + entries + "}")


def test_names_of_imagenet_classes(class_index):
    assert imagenet_names() is None
    filled(class_index)
    assert imagenet_names()[7] == "class 7"
    class_index.write_text("{")
    assert imagenet_names() is None


def test_who_has_the_names_of_imagenet(class_index):
    filled(class_index)
    assert own_names("VGG16", 1000)[7] == "class 7"
    assert own_names("vgg16", 10) is None
    assert own_names("my_model.h5", 1000) is None  # may have a thousand classes of any other kind
    assert own_names(object(), 1000) is None
    assert given_names("imagenet", "my_model.h5", 1000)[7] == "class 7"
    with pytest.raises(ValueError, match="1000 class names are given, and the network has 10 classes"):
        given_names("imagenet", "my_model.h5", 10)


def test_names_of_imagenet_that_cannot_be_had(class_index):
    with pytest.raises(ConnectionError, match="could not be downloaded: give a text file"):
        given_names("imagenet", "my_model.h5", 1000)
    assert given_names(None, "vgg16", 1000) is None
    assert given_names(["a", "b"], "vgg16", 2) == ["a", "b"]


def test_names_of_imagenet_are_downloaded_once(class_index, monkeypatch):
    monkeypatch.setattr(class_names, "_download", lambda: filled(class_index))
    assert imagenet_names()[999] == "class 999"


def test_classes_by_name():
    names = ["crane", "crane, bird", "drake, duck"]
    assert find_class("crane", names, 3) == 0  # the whole name before a part
    assert find_class("Bird", names, 3) == 1
    assert find_class("crane, bird", names, 3) == 1
    with pytest.raises(ValueError, match="unknown class 'brid': did you mean 'crane, bird'"):
        find_class("brid", names, 3)
    with pytest.raises(ValueError, match=r"unknown class 'xyz': there are crane, crane, bird and drake, duck$"):
        find_class("xyz", names, 3)


def test_names_from_a_file(tmp_path):
    (tmp_path / "names.txt").write_bytes("\ufeffn01440764 tench, Tinca\r\nn0 odd\n\n".encode())
    assert read_names(tmp_path / "names.txt", 2) == ["tench, Tinca", "n0 odd"]
