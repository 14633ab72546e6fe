"""Work in other threads: an ordered map that looks ahead a little, and a call that is begun before it is needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 3  # items in flight a worker: enough that none waits for the slowest photo, few enough to stay small


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Apply ``function`` to each item in ``workers`` threads and yield the results in the items' order.

    At most ``3 * workers`` items are taken ahead of the result that is waited for. Closing the generator cancels
    what has not begun. When ``items`` itself raises, the results of the items before come first.

    Example:
        >>> list(ordered_map(abs, [-3, 2, -1], workers=2))
        [3, 2, 1]
    """
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="agriclip-edge")
    source, failure = iter(items), None
    try:
        while True:
            try:
                item = next(source)
            except StopIteration:
                break
            except Exception as error:
                failure = error
                break
            pending.append(pool.submit(function, item))
            if len(pending) >= _AHEAD * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        if failure is not None:
            raise failure
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def begin(function: Callable[..., Result], *given: object) -> Callable[[], Result]:
    """Begin ``function(*given)`` in a thread of its own.

    Returns:
        waits for the result and gives it, or raises what the function raised; may be called again.

    Example:
        >>> begin(abs, -3)()
        3
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="agriclip-edge")
    future = pool.submit(function, *given)
    pool.shutdown(wait=False)
    return future.result
