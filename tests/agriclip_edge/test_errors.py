"""One root, five kinds named for what the caller can do, and a closed list of faults."""

from __future__ import annotations

import pickle

import pytest

import agriclip_edge
from agriclip_edge.errors import BundleError, BundleFault


@pytest.mark.parametrize("kind", ["PhotoError", "LabelError", "BundleError", "RuntimeUnavailable", "UsageError"])
def test_one_root(kind: str) -> None:
    error = getattr(agriclip_edge, kind)
    assert issubclass(error, agriclip_edge.AgriclipError)
    assert not issubclass(error, (OSError, ValueError))


def test_a_bundle_error_ends_in_its_fault() -> None:
    error = BundleError(BundleFault.HASH_MISMATCH, "card.md has another sha256")
    assert str(error) == "card.md has another sha256 [hash-mismatch]"
    assert error.fault is BundleFault.HASH_MISMATCH


def test_faults_are_their_words() -> None:
    assert BundleFault("hash-mismatch") is BundleFault.HASH_MISMATCH
    assert BundleFault.HASH_MISMATCH == "hash-mismatch"
    assert len(BundleFault) == 24


def test_errors_pass_between_processes() -> None:
    """multiprocessing sends them by pickle."""
    for error in (
        agriclip_edge.PhotoError("no such file"),
        BundleError(BundleFault.NOT_FOUND, "no bundle at x"),
    ):
        other = pickle.loads(pickle.dumps(error))
        assert (type(other), str(other), getattr(other, "fault", None)) == (
            type(error),
            str(error),
            getattr(error, "fault", None),
        )
