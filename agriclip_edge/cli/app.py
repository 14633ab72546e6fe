"""The table of commands and the way from arguments to an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Annotated

import click
import typer

from .. import __version__
from . import bench, classify, doctor, drift, embed, inspection, packs, prepare, scene, teach
from .exits import DONE, INTERRUPTED, WRONG_USE, complain, guarded

app = typer.Typer(
    name="agriclip-edge",
    rich_markup_mode=None,  # importing rich would double the time to --help
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"agriclip-edge {__version__}")
        raise typer.Exit()


@app.callback(
    epilog="""\b
Examples:
  agriclip-edge classify leaf.jpg
  agriclip-edge classify photos/ --labels "bean leaf with rust, healthy bean leaf"
  agriclip-edge doctor

\b
Exit codes: 0 all done, 1 some photos failed, 2 wrong use or a broken bundle, 130 interrupted."""
)
def _root(
    version: Annotated[
        bool | None,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave."),
    ] = None,
) -> None:
    """Name what agricultural photos show, on this device, with no network."""


app.command("classify", epilog=classify.EXAMPLES)(classify.classify)
app.command("classify-scene", epilog=scene.EXAMPLES)(scene.classify_scene)
app.command("embed", epilog=embed.EXAMPLES)(embed.embed)
app.command("teach", epilog=teach.EXAMPLES)(teach.teach)
app.command("drift", epilog=drift.EXAMPLES)(drift.drift)
app.command("info", epilog=inspection.INFO_EXAMPLES)(inspection.info)
app.command("verify", epilog=inspection.VERIFY_EXAMPLES)(inspection.verify)
app.add_typer(packs.app, name="packs")
app.command("prepare", epilog=prepare.EXAMPLES)(prepare.prepare)
app.command("bench", epilog=bench.EXAMPLES)(bench.bench)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)


def _part(whole: typer.Typer, names: Sequence[str]) -> typer.Typer:
    """The command that is named, alone in its groups; the whole group where it has none of this name.

    What click needs of all commands takes longer to make than most of them take to run.
    """
    commands = [command for command in whole.registered_commands if command.name in names[:1]]
    groups = [copy(group) for group in whole.registered_groups if group.name in names[:1]]
    if not commands and not groups:
        return whole
    part = copy(whole)
    part.registered_commands, part.registered_groups = commands, groups
    for group in groups:
        if group.typer_instance is not None:
            group.typer_instance = _part(group.typer_instance, names[1:])
    return part


def run(arguments: list[str]) -> int:
    """Run one command line.

    Args:
        arguments: the words after the program's name.

    Returns:
        the exit code.
    """

    def command() -> int:
        try:
            known = typer.main.get_command(_part(app, arguments))
            result = known(arguments, prog_name="agriclip-edge", standalone_mode=False)
        except click.exceptions.NoArgsIsHelpError as error:
            typer.echo(error.format_message())
            return WRONG_USE
        except click.exceptions.Exit as leaving:
            return leaving.exit_code
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            where = context.command_path if context is not None else "agriclip-edge"
            complain(f"{error.format_message()} (see: {where} --help)")
            return WRONG_USE
        except click.exceptions.Abort:
            raise KeyboardInterrupt from None
        if result == INTERRUPTED:  # what typer makes of a KeyboardInterrupt
            raise KeyboardInterrupt
        return result if isinstance(result, int) else DONE

    return guarded(command)
