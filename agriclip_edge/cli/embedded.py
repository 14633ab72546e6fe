"""Photos become embeddings, one after the other; those that cannot be used are named on stderr."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .exits import complain
from .photos import Listed
from .progress import progress

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def embed_listed(
    listed: Sequence[Listed], embed: Callable[[str], npt.NDArray[np.float32]]
) -> tuple[npt.NDArray[np.float32], list[str]]:
    """Embed what was listed.

    Args:
        listed: as `list_photos` gives it.
        embed: of one path, float32 (1, D).

    Returns:
        embeddings float32 (N, D) of the photos that can be used, (0, 0) for none, and their paths.
    """
    import numpy as np

    from ..errors import PhotoError, RuntimeUnavailable

    vectors, used = [np.empty((0, 0), np.float32)], list[str]()
    with progress(len(listed)) as advance:
        for item in listed:
            try:
                if item.error is not None:
                    raise PhotoError(item.error)
                vectors.append(embed(item.path))
                used.append(item.path)
            except (PhotoError, RuntimeUnavailable) as error:
                complain(f"{item.path}: {error}")
            advance()
    return np.concatenate(vectors[1:] or vectors), used
