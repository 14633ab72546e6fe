"""``python -m benchmarks``: the command line of this folder."""

from .cli import main

main()
