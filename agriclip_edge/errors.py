"""The errors that this package raises, named for what the caller can do about them.

Every message is one line: what failed, what was found, what is accepted.
"""

from __future__ import annotations

from enum import Enum

_MAX_MESSAGE = 600  # characters: a path of 255 and words


class AgriclipError(Exception):
    """Root of all errors of this package; catching it catches every one of them.

    Example:
        >>> import agriclip_edge
        >>> try:
        ...     agriclip_edge.load(labels=[])
        ... except agriclip_edge.AgriclipError as error:
        ...     print(type(error).__name__, error)
        LabelError 0 labels; accepted: 1 to 1,000,000
    """


class PhotoError(AgriclipError):
    """One photo cannot be used: choose another; the rest of a batch is not concerned.

    Example:
        >>> import agriclip_edge
        >>> agriclip_edge.load().classify("no-such-file.jpg")
        Traceback (most recent call last):
        agriclip_edge.errors.PhotoError: no such file
    """


class LabelError(AgriclipError):
    """A list of labels, a template or the name of a label pack cannot be used: mend the list.

    Example:
        >>> import agriclip_edge
        >>> agriclip_edge.load(labels=["rust", "Rust"])
        Traceback (most recent call last):
        agriclip_edge.errors.LabelError: label 'Rust' is there twice
    """


class RuntimeUnavailable(AgriclipError):
    """An inference runtime or an optional decoder is not installed: the message names the line that installs it.

    Example:
        >>> from agriclip_edge.runtimes import open_graph
        >>> try:
        ...     open_graph("abacus", b"", [], None)
        ... except RuntimeUnavailable as error:
        ...     print(str(error).split(";")[0])
        unknown runtime 'abacus'
    """


class UsageError(AgriclipError):
    """A call or a command was put together wrongly: mend the arguments.

    Example:
        >>> import agriclip_edge
        >>> agriclip_edge.load(threads=0)
        Traceback (most recent call last):
        agriclip_edge.errors.UsageError: threads is 0; accepted: at least 1
    """


class BundleFault(str, Enum):
    """The closed list of reasons for which a bundle or a pack is refused (``docs/bundle-format.md``).

    Example:
        >>> BundleFault("hash-mismatch").name
        'HASH_MISMATCH'
    """

    NOT_FOUND = "not-found"
    NOT_A_BUNDLE = "not-a-bundle"
    MANIFEST_UNREADABLE = "manifest-unreadable"
    MANIFEST_INVALID = "manifest-invalid"
    FORMAT_UNSUPPORTED = "format-unsupported"
    PATH_UNSAFE = "path-unsafe"
    ARCHIVE_UNSAFE = "archive-unsafe"
    TOO_LARGE = "too-large"
    FILE_MISSING = "file-missing"
    SIZE_MISMATCH = "size-mismatch"
    HASH_MISMATCH = "hash-mismatch"
    GRAPH_UNREADABLE = "graph-unreadable"
    GRAPH_MISMATCH = "graph-mismatch"
    VOCABULARY_INVALID = "vocabulary-invalid"
    PACK_UNREADABLE = "pack-unreadable"
    PACK_INVALID = "pack-invalid"
    PACK_SHAPE = "pack-shape"
    PACK_VALUES = "pack-values"
    PACK_FOREIGN_TEXT_ENCODER = "pack-foreign-text-encoder"
    PACK_FOREIGN_PREPROCESSING = "pack-foreign-preprocessing"
    PACK_FOREIGN_CENTRE = "pack-foreign-centre"
    FACTS_INVALID = "facts-invalid"
    REFERENCE_INVALID = "reference-invalid"
    TEXT_MAP_INVALID = "text-map-invalid"


class BundleError(AgriclipError):
    """A bundle or a pack is missing, broken, hostile or foreign: get it again.

    Attributes:
        fault: the reason, one of the closed list `BundleFault`.

    Example:
        >>> import agriclip_edge
        >>> try:
        ...     agriclip_edge.load("no-such-folder")
        ... except agriclip_edge.BundleError as error:
        ...     print(error.fault.value)
        not-found
    """

    def __init__(self, fault: BundleFault, message: str) -> None:
        # What a hostile file says about itself may be long and hold line breaks: a message is one line all the same.
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)
        super().__init__(f"{line if len(line) <= _MAX_MESSAGE else line[:_MAX_MESSAGE] + '…'} [{fault.value}]")
        self.fault = fault
        self._message = message

    def __reduce__(self) -> tuple[type[BundleError], tuple[BundleFault, str]]:
        """How multiprocessing passes it on: with the arguments that it was made of."""
        return type(self), (self.fault, self._message)
