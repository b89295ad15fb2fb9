"""Values that hold from given training steps on, each until the next begins."""

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Staged(Generic[Value]):
    """Which of several values holds at a training step.

    Args:
        stages: [(step, value), ...], the steps ascending from 0. Raises ValueError otherwise.

    >>> warmth = Staged([(0, "cold"), (100, "warm")])
    >>> warmth.at(99), warmth.at(100)
    ('cold', 'warm')
    """

    def __init__(self, stages: Sequence[tuple[int, Value]]):
        self._starts = [int(step) for step, _ in stages]
        self._values = [value for _, value in stages]
        if self._starts[:1] != [0] or sorted(set(self._starts)) != self._starts:
            raise ValueError(f"a schedule has ascending steps from 0, not {stages}")

    def __iter__(self) -> Iterator[tuple[int, Value]]:
        """The stages, (step, value)."""
        return zip(self._starts, self._values, strict=True)

    def stage(self, step: int) -> tuple[int, Value]:
        """The step from which on what holds at ``step`` holds, and the value."""
        # Not with the bisect module, which torch.compile does not see through.
        stage = sum(start <= step for start in self._starts) - 1
        return self._starts[stage], self._values[stage]

    def at(self, step: int) -> Value:
        """The value at a step."""
        return self.stage(step)[1]


Limit = int | None | Sequence[tuple[int, int | None]]


def staged_limit(limit: Limit) -> Staged[int | None]:
    """The most hops that questions, or objects that scenes, may have at each training step.

    ``limit`` is a number for all steps, None for no limit, or stages whose numbers may be None
    too. Raises ValueError for a negative one.
    """
    staged = Staged([(0, limit)] if limit is None or isinstance(limit, int) else limit)
    if any(most is not None and most < 0 for _, most in staged):
        raise ValueError(f"a limit is not negative: {limit}")
    return staged
