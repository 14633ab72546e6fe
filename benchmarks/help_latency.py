"""How long `agriclip-edge --help` takes, as a whole process."""

from __future__ import annotations

from dataclasses import dataclass

from .environment import runtime, runtime_versions
from .process import run_process
from .record import Measurement
from .rounds import Step, interleave, ratios


@dataclass(frozen=True)
class HelpConfig:
    """How often."""

    rounds: int = 25

    @classmethod
    def tiny(cls) -> HelpConfig:
        """Twice."""
        return cls(rounds=2)


def measure(step: Step, config: HelpConfig = HelpConfig()) -> Measurement:
    """Measure it in turn with an empty Python program, which tells how noisy the machine is."""
    command, python = runtime("agriclip-edge"), runtime("python")
    sides = {
        "agriclip-edge --help": lambda: run_process(command, "--help").wall_s,
        "python -c pass": lambda: run_process(python, "-I", "-c", "pass").wall_s,
    }
    help_s, empty_s = interleave(sides, config.rounds, step).values()
    return Measurement(
        method="Whole processes in turn, wall time, after one warm-up round; beside it an empty Python program, whose "
        "spread is the machine's noise.",
        samples={"help_s": help_s, "empty_python_s": empty_s, "times_of_empty_python": ratios(help_s, empty_s)},
        packages=runtime_versions(("agriclip-edge", "typer", "click")),
    )
