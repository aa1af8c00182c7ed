"""A benchmark from its first batch, or from where it was interrupted, to its tables; and batches that fail."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from rap_keras.basics import whole_file
from rap_keras.basics.progress import progress_bar, tell
from rap_keras.basics.wording import counted
from rap_keras.benchmark import manifest, parts, report
from rap_keras.benchmark.evaluate import Benchmark
from rap_keras.benchmark.parts import in_one_line
from rap_keras.benchmark.summary import Summary, summarise

Results = Iterable[tuple[int, pd.DataFrame]]
"""Numbers of batches and their rows, in any order."""


def run(
    benchmark: Benchmark,
    output: str | Path,
    model: str,
    command: str = "",
    evaluate: Callable[[Attempts], Results] | None = None,
) -> Summary:
    """Evaluates what is not evaluated yet, with a progress bar, and writes the outcome.

    A run that was interrupted is continued by the same call, and ends with the same tables. A batch that fails is
    tried three times. Then its images count as broken, with the reason, and the run goes on.

    Args:
        benchmark: what to evaluate.
        output: the folder of the results; it is made if it does not exist.
        model: the network's name in the tables.
        command: how the user began the run, for the report.
        evaluate: evaluates batches; by default in this process, one after the other.

    Raises:
        ValueError: `output` holds a run with other options, or a file in it is damaged.
        OSError: `output` cannot be written, or another run works there (BlockingIOError).
        RuntimeError: every batch failed; or no image was used, which the report says too.
    """
    output = Path(output)
    with parts.locked(output):
        about = manifest.begin(output, manifest.describe(benchmark, model, command))
        whole_file.remove_leftovers(output)
        parts.remove_leftovers(output)
        missing = unfinished(output, benchmark.batches)
        done = benchmark.batches - len(missing)
        if done:
            tell(f"going on in {output}, where {counted(done, 'batch is', 'batches are')} done")
        batches = Attempts(missing, benchmark.given_up, begun=done > 0)
        results = evaluate(batches) if evaluate else one_by_one(benchmark, batches)
        images_missing = sum(len(benchmark.names_of(number)) for number in missing)
        collect(results, output, len(benchmark.dataset.names), images_missing)
        return finish(benchmark, output, about)


class Attempts:
    """The batches of a run that are still to be evaluated, and how often each of them has failed.

    An engine takes numbers from `waiting`, and reports every attempt by `succeeded` or `failed`, which yield the
    numbers and rows of batches that are done. A batch that fails is tried again. After `tries` failures it is set
    aside: `given_up` makes its rows, from its number and the reason. If every batch fails, the run ends, since the
    cause is then unlikely to be in the batches; not if some had succeeded before an interruption, `begun`.

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
        """Takes a failure and its reason; raises RuntimeError if no batch can be expected to succeed."""
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


def one_by_one(benchmark: Benchmark, batches: Attempts) -> Results:
    """Evaluates batches in this process."""
    while batches.waiting:
        number = batches.waiting.popleft()
        reason = ""
        try:
            rows = benchmark.evaluate(number)
        except Exception as error:
            reason = in_one_line(error)
        # Here the exception is gone, and what the failed attempt kept in memory is free.
        yield from batches.failed(number, reason) if reason else batches.succeeded(number, rows)


def unfinished(output: Path, batches: int) -> list[int]:
    """The numbers of the batches that have no results in `output` yet."""
    done = parts.finished(output)
    return [number for number in range(batches) if number not in done]


def collect(results: Results, output: Path, total: int, missing: int) -> None:
    """Writes the rows of batches as they come, with a progress bar; of all images `missing` are still to do."""
    with progress_bar(total=total, initial=total - missing, unit=" images", smoothing=0.05) as bar:
        for number, rows in results:
            parts.write(output, number, rows)
            bar.update(rows["image"].nunique())


def finish(benchmark: Benchmark, output: Path, about: dict[str, Any]) -> Summary:
    """Writes what is made of all batches; then raises RuntimeError if no image was used."""
    results = parts.read(output, benchmark.batches)
    summary = summarise(results, about["model"], benchmark.dataset.name)
    pictures = {}
    chosen = report.choose(parts.read(output, benchmark.batches), benchmark.dataset.pairs)
    if chosen:
        try:
            picture = report.draw(benchmark, chosen)
        # Whatever fails in an analyzer, the tables of a long run must not be lost.
        except Exception as error:
            tell(f"there is no picture of heatmaps: {in_one_line(error)}")
        else:
            file = output / "heatmaps.png"
            whole_file.write(file, picture)
            pictures[file] = report.caption(benchmark, chosen)
    report.write(output, summary, about, pictures, benchmark.options.pixels)
    if summary.used == 0:
        raise RuntimeError(_nothing_used(summary, output))
    return summary


def _nothing_used(summary: Summary, output: Path) -> str:
    left = summary.left_out
    counts = left.groupby("kind")["images"].sum()
    misclassified, broken = (int(counts.get(kind, 0)) for kind in ("misclassified", "broken"))
    if not misclassified + broken:
        return "no image was used: the data set has none"
    text = f"no image was used: {misclassified} were misclassified and {broken} were broken"
    if misclassified:
        text += (
            "; check that the preprocessing is what the network was trained with, and that its classes are those "
            "of the data set in their official order"
        )
    if broken:
        first = left[left["kind"] == "broken"].iloc[0]
        text += f"; {output / 'left_out.csv'} says what is broken, first {first.names[0]}: {first.reason}"
    return f"{text}; then take another folder for the results, or delete this one"
