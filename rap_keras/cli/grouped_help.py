"""Help in sections: the options of a command in groups, and examples at the end."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import click

_NAMES_WIDTH = 26  # leaves 48 columns of 80 for the texts: the longest word in them fits


class WithExamples(click.Command):
    """A command whose epilog consists of command lines: the help shows them unwrapped, under "Examples"."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the section "Examples"."""
        with formatter.section("Examples"):
            for line in inspect.cleandoc(self.epilog or "").splitlines():
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class GroupedCommand(WithExamples):
    """A command whose help shows its options in groups, and its epilog as examples.

    Args:
        groups: Headings, each with the long names of its options: `{"Output": ["--format", "--output"]}`. The
            options of no group come last.
        arguments: Arguments of `click.Command`.
        settings: Keyword arguments of `click.Command`.
    """

    def __init__(self, *arguments: Any, groups: Mapping[str, Iterable[str]], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.groups = groups

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes a section for each group, and one for the other options."""
        options = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)]
        records = {option.opts[-1]: option.get_help_record(ctx) or ("", "") for option in options}
        sections = {heading: [records.pop(name) for name in names] for heading, names in self.groups.items()}
        sections["Other options"] = list(records.values())
        for heading, rows in sections.items():
            with formatter.section(heading):
                # Padded, so that the texts of all groups begin in the same column.
                padded = [(names.ljust(_NAMES_WIDTH), text) for names, text in rows]
                formatter.write_dl(padded, col_max=_NAMES_WIDTH)
