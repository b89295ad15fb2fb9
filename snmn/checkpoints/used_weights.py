"""Weights that notice which of them were used, so that none is left out without a word."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from snmn.common.errors import shown


class UsedWeights(Mapping[str, Tensor]):
    """Weights by name; `check` refuses those that nobody asked for."""

    def __init__(self, weights: Mapping[str, Tensor]):
        self._weights = weights
        self._used: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        value = self._weights[name]
        self._used.add(name)
        return value

    def __contains__(self, name: object) -> bool:
        return name in self._weights

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    def check(self, *, without_use: tuple[str, ...] = ()) -> None:
        """Raise ValueError, which names it, for a weight that was not used.

        Those whose names begin with one of ``without_use`` need not be.
        """
        unused = [name for name in self if name not in self._used]
        unknown = [name for name in unused if not name.startswith(without_use)]
        if unknown:
            more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
            names = ", ".join(shown(name) for name in unknown[:3])
            raise ValueError(
                f"nothing is known of its weights {names}{more}; without them the model would not "
                "be the one that was trained"
            )
