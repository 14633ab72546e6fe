"""``python -m training prompts``: what facts say of a class, and the captions that come of them."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at facts and captions.")

_SHOW = """\b
Examples:
  python -m training prompts show "coffee leaf rust"
  python -m training prompts show "Hemileia vastatrix" --number 12 --seed 1"""


@app.callback()
def _prompts() -> None:
    """Facts and captions of the classes."""


@app.command(epilog=_SHOW)
def show(
    label: Annotated[str, typer.Argument(help="A label, a synonym or a scientific name.")],
    number: Annotated[int, typer.Option(min=1, help="Captions wanted.")] = 8,
    seed: Annotated[int, typer.Option(help="Of their choice.")] = 0,
) -> None:
    """Show what is known of a class and some of its captions."""
    from .captions import attribute_words, captions, find_facts, shipped_facts

    facts = find_facts(label, shipped_facts())
    typer.echo(f"{facts.label} ({facts.kind}{', ' + facts.scientific if facts.scientific else ''})")
    typer.echo(f"also: {', '.join(facts.synonyms) or '-'}")
    typer.echo(f"attributes: {attribute_words(facts) or '-'}")
    for caption in captions(facts, number, seed):
        typer.echo(f"  {caption}")


@app.command("list", epilog="\b\nExample:\n  python -m training prompts list --kind weed")
def list_(kind: Annotated[str | None, typer.Option(help="Only classes of this kind.")] = None) -> None:
    """List the classes that there are facts on."""
    from .captions import describe, shipped_facts

    chosen = [facts for facts in shipped_facts().values() if kind in (None, facts.kind)]
    for facts in chosen:
        typer.echo(f"{facts.label}  ({facts.parent})")
    typer.echo(describe(chosen), err=True)
