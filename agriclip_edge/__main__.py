"""``python -m agriclip_edge`` is the command ``agriclip-edge``."""

from .cli import main

main()
