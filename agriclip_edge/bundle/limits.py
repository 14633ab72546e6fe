"""How far a variant may be from float32 where its manifest does not say it: bundles written before `limits` was."""

from __future__ import annotations

from collections.abc import Mapping

from .manifest import Variant

FLOAT = ("fp32", "fp16-weights")  # computed in float32
# By kind, as in `export/budget.toml`, whose figures a test holds these to: cosines at least, drops at most, in points.
_INT8 = {"mean_cosine": 0.99, "p1_cosine": 0.97, "least_cosine": 0.985}
LIMITS: Mapping[str, Mapping[str, float]] = {
    "int8": {**_INT8, "drop_mean": 0.5, "drop_task": 1.0},
    "bf16": {"mean_cosine": 0.99, "p1_cosine": 0.97, "drop_mean": 0.5, "drop_task": 1.0},
    "fp16-weights": {"mean_cosine": 0.99999, "p1_cosine": 0.9999, "drop_mean": 0.2, "drop_task": 1.0},
    "tensorrt-fp16": {"mean_cosine": 0.9995, "p1_cosine": 0.99, "drop_mean": 0.2, "drop_task": 1.0},
    "tensorrt-int8": {**_INT8, "drop_mean": 1.0, "drop_task": 1.0},
}


def kind_of(variant: Variant) -> str:
    """The kind of a variant, a key of `LIMITS`; one of a precision that is not there is held to float32's."""
    if variant.runtime == "tensorrt":
        return f"tensorrt-{variant.precision}"
    return {"int8-s8s8": "int8", "fp32": "fp16-weights"}.get(variant.precision, variant.precision)


def limits_of(variant: Variant) -> Mapping[str, float]:
    """What the manifest allows a variant, or `LIMITS` where it says nothing."""
    return variant.limits or LIMITS.get(kind_of(variant), LIMITS["fp16-weights"])
