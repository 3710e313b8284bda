"""A page of the documentation for each command, made from the code when MkDocs builds the site.

MkDocs calls the functions of this file as hooks (mkdocs.yml). The text is that of
`pibench COMMAND --help`, as Typer's own generator writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from mkdocs.structure.files import File
from typer.cli import get_docs_for_click

from pibench.cli.app import GROUPS, application

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

FOLDER = "commands"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages to the navigation, by the groups of the help."""
    commands = _commands()
    pages = [
        {name: f"{FOLDER}/{name}.md"}
        for group in GROUPS
        for name, command in commands.items()
        if command.rich_help_panel == group
    ]
    for entry in config.nav or ():
        if isinstance(entry, dict) and FOLDER in {str(one).lower() for one in entry}:
            entry[next(iter(entry))] = pages
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    context = typer.Context(typer.main.get_command(application()), info_name="pibench")
    for name, command in _commands().items():
        text = get_docs_for_click(obj=command, ctx=context, name=name, call_prefix="pibench")
        files.append(File.generated(config, f"{FOLDER}/{name}.md", content=text))
    return files


def _commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(application())
    return {name: command for name, command in group.commands.items() if not command.hidden}
