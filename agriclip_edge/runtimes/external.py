"""An ONNX file is itself alone: one that names other files for its weights is refused."""

from __future__ import annotations

import re

from ..errors import BundleError, BundleFault

# A string field of exactly these eight characters names the file of a weight that lies outside the graph (the key of
# TensorProto.external_data). Its length may be written as a longer varint than it needs.
_EXTERNAL_WEIGHT = re.compile(rb"(?:\x08|\x88\x80*\x00)location")


def refuse_external_weights(data: bytes) -> None:
    """Refuse an ONNX file that would have its runtime read weights from other files.

    Raises:
        BundleError: it names one.
    """
    if b"location" in data and _EXTERNAL_WEIGHT.search(data):  # the first alone is fast
        message = "the graph keeps weights in another file; accepted: in itself"
        raise BundleError(BundleFault.GRAPH_UNREADABLE, message)
