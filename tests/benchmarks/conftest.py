"""Records for tests: of a machine that does not exist."""

from collections.abc import Callable

import pytest

from benchmarks.record import Machine, Measurement, Record, complete


@pytest.fixture
def complete_measurement() -> Callable[..., Record]:
    def make(measured: Measurement, what: str = "sample") -> Record:
        return complete(
            measured,
            what=what,
            command=f"python -m benchmarks {what}",
            commit="0123456789ab",
            date="2026-01-02T03:04:05Z",
            load=0.1,
            machine=Machine("a processor", 2, 16.5, "Linux x86_64", "3.11.7", dict(measured.packages)),
        )

    return make
