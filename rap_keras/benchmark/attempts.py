"""What happens to a batch that fails. Every engine tries it again, then sets it aside and names it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator

import pandas as pd

from rap_keras.basics.progress import tell

_LONGEST_REASON = 300  # characters; TensorFlow's messages can have thousands

Results = Iterable[tuple[int, pd.DataFrame]]
"""Numbers of batches and their rows, in any order."""


class Attempts:
    """The batches of a run that are still to be evaluated, and how often each of them has failed.

    An engine takes numbers from `waiting`, and reports every attempt by `succeeded` or `failed`, which return the
    numbers and rows of batches that are done. A batch that fails is tried again. After `tries` failures it is set
    aside: `given_up` makes its rows, which call all its images broken. If every batch fails, the run ends, since
    the cause is then unlikely to be in the batches.

    Args:
        numbers: of the batches.
        given_up: makes the rows of a batch that is set aside, from its number and the reason.
        begun: whether batches succeeded before the run was interrupted; later failures then do not end it.
        tries: how often a batch is tried.

    Raises:
        ValueError: `tries` is below 1.
    """

    def __init__(
        self,
        numbers: Iterable[int],
        given_up: Callable[[int, str], pd.DataFrame],
        begun: bool = False,
        tries: int = 3,
    ) -> None:
        if tries < 1:
            raise ValueError(f"tries={tries}: must be at least 1")
        self.waiting = deque(numbers)
        self.tries = tries
        self.left = len(self.waiting)  # batches that are neither done nor set aside
        self._given_up = given_up
        self._succeeded = begun
        self._failures: Counter[int] = Counter()
        self._set_aside: list[tuple[int, pd.DataFrame]] = []  # until a batch succeeds

    def succeeded(self, number: int, rows: pd.DataFrame) -> Results:
        """Takes the rows of a batch."""
        self.left -= 1
        self._succeeded = True
        yield number, rows
        yield from self._release()

    def failed(self, number: int, reason: str) -> Results:
        """Takes a failure and its reason, in one line.

        Yields:
            Numbers and rows of batches that are set aside.

        Raises:
            RuntimeError: the first `tries` batches, or all if there are fewer, failed `tries` times each, and none
                succeeded.
        """
        self._failures[number] += 1
        if self._failures[number] < self.tries:
            tell(f"batch {number} is tried again: {reason}")
            if self._succeeded:
                self.waiting.append(number)  # a batch that kills workers must not delay the others
            else:
                self.waiting.appendleft(number)  # so that the run ends soon if everything fails
            return
        self.left -= 1
        count = len(self._set_aside) + 1
        if not self._succeeded and (count == self.tries or self.left == 0):
            which = f"the first {count} batches" if count > 1 else "the first batch"
            raise RuntimeError(
                f"every batch so far failed: {which} failed {self.tries} times, and the last error was {reason}"
            )
        reason = f"given up after {self.tries} tries: {reason}"
        tell(f"batch {number}: {reason}")
        self._set_aside.append((number, self._given_up(number, reason)))
        if self._succeeded:
            yield from self._release()

    def _release(self) -> Iterator[tuple[int, pd.DataFrame]]:
        yield from self._set_aside
        self._set_aside.clear()


def in_one_line(error: BaseException) -> str:
    """The kind of an exception and its message, without line breaks, shortened where it is very long."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} ..."
