"""``python -m training``: the command line of this folder."""

from .cli import main

main()
