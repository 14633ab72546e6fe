"""Steps in bfloat16 whose gradients can be trusted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def trusted(device: torch.device, half: bool) -> Iterator[None]:
    """Take a step, forwards and backwards, without oneDNN where it would be in bfloat16 on a CPU.

    oneDNN's gradient of a depthwise convolution's weights reads memory that nobody wrote: the same step of a tiny
    EfficientNet, taken 30 times, gave five gradients, up to 1e25 and NaN; without oneDNN it gives one.

    Args:
        device: that the step runs on.
        half: whether activations are bfloat16.
    """
    before = torch.backends.mkldnn.enabled
    if half and device.type == "cpu":
        torch.backends.mkldnn.enabled = False
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before
