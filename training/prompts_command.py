"""``python -m training prompts``: what facts say of a class, and the captions that come of them."""

from __future__ import annotations

from pathlib import Path
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


@app.command(
    epilog="""\b
Example:
  python -m training prompts rewrite --endpoint http://localhost:8000/v1 --model llama --output captions.json
  python -m training contrastive --shards alive/ --output RUN --captions captions.json"""
)
def rewrite(
    endpoint: Annotated[str, typer.Option(help="Root of an OpenAI-compatible service; its key: OPENAI_API_KEY.")],
    model: Annotated[str, typer.Option(help="Name that it has for the model.")],
    output: Annotated[Path, typer.Option(help="JSON file for the captions; what was asked before is not asked again.")],
    kind: Annotated[str | None, typer.Option(help="Only classes of this kind.")] = None,
    number: Annotated[int, typer.Option(min=1, help="Captions a class.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the captions and of the model.")] = 0,
) -> None:
    """Say captions in other words; answers that add anything to the facts are refused, and kept with the reason."""
    from rich.console import Console

    from agriclip_edge.errors import UsageError

    from .captions import shipped_facts
    from .progress import StatusLine
    from .rewriting import Endpoint
    from .rewriting import rewrite as run

    chosen = [facts for facts in shipped_facts().values() if kind in (None, facts.kind)]
    if not chosen:
        raise UsageError(f"no class is of kind {kind!r}; python -m training prompts list shows all")
    status = StatusLine(Console(stderr=True))
    found = run(chosen, number, seed, Endpoint(endpoint, model), output, status.step)
    refused = sum(bool(entry.refused) for entry in found.entries)
    typer.echo(f"{output}: {len(found.entries) - refused} captions stand, {refused} were refused")


@app.command("list", epilog="\b\nExample:\n  python -m training prompts list --kind weed")
def list_(kind: Annotated[str | None, typer.Option(help="Only classes of this kind.")] = None) -> None:
    """List the classes that there are facts on."""
    from .captions import describe, shipped_facts

    chosen = [facts for facts in shipped_facts().values() if kind in (None, facts.kind)]
    for facts in chosen:
        typer.echo(f"{facts.label}  ({facts.parent})")
    typer.echo(describe(chosen), err=True)
