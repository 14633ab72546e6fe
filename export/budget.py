"""What a variant may lose (``budget.toml``), apart from the gate, so that ``--help`` need not wait for numpy."""

from __future__ import annotations

from pathlib import Path

BUDGET = Path(__file__).with_name("budget.toml")
