"""The help of the commands: options in groups, examples that the command accepts, 80 columns."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from commands import accepted

from rap_keras.cli.commands import main
from rap_keras.cli.grouped_help import GroupedCommand

of_all_commands = pytest.mark.parametrize("name", sorted(main.commands))
with_the_main_one = pytest.mark.parametrize("name", ["", *sorted(main.commands)])


def sections(text: str) -> dict[str, list[str]]:
    """The lines of a help under each heading; a heading begins in the first column and ends with a colon."""
    found: dict[str, list[str]] = {"": []}
    for line in text.splitlines():
        if re.fullmatch(r"[A-Z][^:]*:", line):
            assert line[:-1] not in found
            found[line[:-1]] = []
        elif line:
            list(found.values())[-1].append(line)
    return found


@pytest.fixture
def shown(monkeypatch, name):
    """The help of a command, in a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    return accepted(*name.split(), "--help")


def listed(lines: list[str]) -> list[str]:
    """The long names of the options that have an entry in these lines."""
    return [match[1] for line in lines if (match := re.match(r"  (?:-\w, )?(--[\w-]+)", line))]


@of_all_commands
def test_each_option_is_once_in_a_group(name, shown):
    groups = {heading: listed(lines) for heading, lines in sections(shown).items() if heading != "Examples"}
    assert groups.pop("Other options") == ["--help"]
    options = [option.opts[-1] for option in main.commands[name].params if isinstance(option, click.Option)]
    assert sorted(option for group in groups.values() for option in group) == sorted(options)


@with_the_main_one
def test_it_fits_80_columns(shown):
    assert max(map(len, shown.splitlines())) <= 80


@with_the_main_one
def test_the_examples_are_accepted(name, shown, tmp_path, monkeypatch):
    """Whatever looks like a file or a folder exists: then click takes all options and values."""
    monkeypatch.chdir(tmp_path)
    heading, lines = list(sections(shown).items())[-1]
    assert heading == "Examples"
    examples = "\n".join(lines).replace("\\\n", " ").splitlines()
    assert 1 <= len(examples) <= 3
    assert name in examples[0]
    for example in examples:
        program, command, *words = shlex.split(example)
        assert program == "rap-keras"
        for word in words:
            if not word.startswith("-"):
                Path(word).touch() if Path(word).suffix else Path(word).mkdir(exist_ok=True)
        main.commands[command].make_context(command, [word for word in words if word != "--help"])


def test_the_list_of_commands_has_whole_sentences(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = sections(accepted("--help"))["Commands"]
    assert len(lines) == len(main.commands)
    assert [line for line in lines if not re.search(r"\w\.$", line) or line.endswith("...")] == []


def test_texts_begin_in_one_column_and_what_is_in_no_group_comes_last(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names = ["--a", "--a-long-one", "--one-that-is-longer-than-its-column", "--in-no-group"]
    command = GroupedCommand(
        "c",
        params=[click.Option([name], metavar="N", help=f"of {name}.") for name in names],
        groups={"Second": [names[1]], "First": [names[2], names[0]]},
        epilog="""
        c --a 1 \\
            --a-long-one 2
        """,
    )
    text = command.get_help(click.Context(command, info_name="c"))
    assert text.split("\n\n")[1:] == [
        "Second:\n  --a-long-one N              of --a-long-one.",
        "First:\n  --one-that-is-longer-than-its-column N\n"
        "                              of --one-that-is-longer-than-its-column.\n"
        "  --a N                       of --a.",
        "Other options:\n  --in-no-group N             of --in-no-group.\n"
        "  --help                      Show this message and exit.",
        "Examples:\n  c --a 1 \\\n      --a-long-one 2",
    ]
