"""What one part of `gpu.py` finds: written to its file after every item, within a deadline."""

import math
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from measure import write_result

LIMITS = {"float32": 1e-5, "bfloat16": 2e-2}  # of relative errors
MARGIN = 5.0  # seconds before the limit, at which what is not finished is left


class Record(NamedTuple):
    """The results of one part, and how much time is left for more.

    path: the JSON file that is written again after every item.
    command: how the benchmark was started; kept with the results.
    deadline: when the part is stopped, on the clock of `time.monotonic`.
    smoke: whether sizes are tiny, to try the program and not the machine.
    items: what was found so far, by name.
    """

    path: Path
    command: str
    deadline: float
    smoke: bool
    items: dict[str, Any]

    def seconds_left(self) -> float:
        """Seconds until this part is stopped."""
        return self.deadline - time.monotonic()

    def keep(self, name: str, value: Any) -> None:
        """Add an item and write the file.

        It is written under another name first, so that a kill leaves a whole file.
        """
        self.items[name] = value
        print(f"  {name}, {self.seconds_left():.0f} s left: {_in_a_line(value)}", flush=True)
        draft = self.path.with_suffix(".tmp")
        write_result(draft, self.command, {"items": self.items})
        draft.replace(self.path)

    def attempt(self, name: str, function: Callable[[], Any], needs: float = 0.0) -> Any:
        """Keep what a function returns, or that it raised, or that there was no time for it.

        Args:
            name: of the item.
            function: measures it.
            needs: seconds without which it is not begun.

        Returns:
            What the function returned; None if it raised or was not begun.
        """
        if self.seconds_left() < needs and not self.smoke:
            found = f"needs {needs:.0f} s, {max(self.seconds_left(), 0):.0f} s were left"
            self.keep(name, {"not_reached": found})
            return None
        try:
            value = function()
        except Exception as error:
            traceback.print_exc()
            message = str(error).strip() or "no message"
            self.keep(name, {"raised": f"{type(error).__name__}: {message.splitlines()[0][:300]}"})
            return None
        self.keep(name, value)
        return value


def within(error: float, limit: float) -> dict[str, Any]:
    """A relative error beside the most that it may be."""
    return {"relative_error": error, "limit": limit, "passed": bool(error <= limit)}


def aimed(
    ratio: dict[str, float], *, at_least: float = 0.0, at_most: float = math.inf
) -> dict[str, Any]:
    """Return the quartiles of a ratio and the goal for its median.

    A goal that is missed is reported, but is no failure.
    """
    reached = at_least <= ratio["median"] <= at_most
    aim = {"at_least": at_least} if at_least else {"at_most": at_most}
    return {**ratio, **aim, "reached": bool(reached)}


def failures(items: Any) -> list[str]:
    """Each item that raised or did not pass, with the reason."""
    raised = [
        f"{path} raised {found['raised']}" for path, found in _dicts(items) if "raised" in found
    ]
    wrong = [(path, found) for path, found in _dicts(items) if found.get("passed") is False]
    return raised + [f"{path} did not pass: {_in_a_line(found)}" for path, found in wrong]


def missed(items: Any) -> list[str]:
    """Each ratio that is short of its aim."""
    return [
        f"{path}: {_in_a_line(found)}"
        for path, found in _dicts(items)
        if found.get("reached") is False
    ]


def not_reached(items: Any) -> list[str]:
    """Each item for which there was no time."""
    return [path for path, found in _dicts(items) if "not_reached" in found]


def _dicts(found: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every dictionary in a tree of them, with its path."""
    if isinstance(found, dict):
        yield path, found
        for name, value in found.items():
            yield from _dicts(value, f"{path}/{name}" if path else name)


def _in_a_line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_in_a_line(part)}" for name, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
