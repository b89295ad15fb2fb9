"""Pickles read without running anything: what they name stays a name.

An unpickler imports what a file names and calls it. Here there is nothing to import: a class or
function is kept as `Named`, and what would come of calling it is another `Named`, unless its
reader lists it as known. That is also why PyTorch's own reader of weights is not used: it refuses
a file for one class in it, and crashes on keys that are nested deeply enough.
"""

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

# A checkpoint's is a few hundred KB. An object of Python is up to a hundred times its opcode.
LARGEST_PICKLE = 2 << 20

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_SCALARS = (str, bytes, int, float, type(None))


class Named:
    """A class or function that a pickle names, or an object made by it; nothing but its name."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name


class _Machine:
    """The stack of a pickle. Everything is done in a loop: no nesting is too deep for it."""

    def __init__(
        self,
        known: Mapping[str, Callable],
        load_persistent: Callable[[Any], Any],
        check_name: Callable[[str], None],
    ):
        self._known, self._load_persistent, self._check_name = known, load_persistent, check_name
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        return self._stack.pop()

    def run(self, opcode: str, argument: Any) -> None:
        stack = self._stack
        if opcode in _LITERALS:
            stack.append(argument)
        elif opcode in _CONSTANTS:
            stack.append(_CONSTANTS[opcode])
        elif opcode in _EMPTY:
            stack.append(_EMPTY[opcode]())
        elif opcode in _TUPLES:
            stack[-_TUPLES[opcode] :] = [tuple(self._last(_TUPLES[opcode]))]
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif opcode == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif opcode == "MARK":
            self._marks.append(len(stack))
        elif opcode == "POP":
            stack.pop()
        elif opcode == "POP_MARK":
            self._since_mark()
        elif opcode == "TUPLE":
            stack.append(tuple(self._since_mark()))
        elif opcode == "BINPERSID":
            stack[-1] = self._load_persistent(stack[-1])
        elif opcode == "GLOBAL":
            self._name(argument.replace(" ", "."))
        elif opcode == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            self._name(f"{module}.{name}")
        elif opcode in ("REDUCE", "NEWOBJ"):
            arguments = stack.pop()
            stack[-1] = self._made(stack[-1], arguments)
        elif opcode in ("APPEND", "APPENDS"):
            items = self._since_mark() if opcode == "APPENDS" else [stack.pop()]
            self._append(stack[-1], items)
        elif opcode in ("SETITEM", "SETITEMS"):
            items = self._since_mark() if opcode == "SETITEMS" else [stack.pop(-2), stack.pop()]
            self._set(stack[-1], items)
        elif opcode == "BUILD":
            stack.pop()
            if not isinstance(stack[-1], Named | OrderedDict):
                raise ValueError("a state of what has none")
        elif opcode not in ("PROTO", "FRAME"):
            raise ValueError(f"{opcode} has no part in a checkpoint")

    def _last(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise ValueError("too few values")
        return self._stack[-count:]

    def _since_mark(self) -> list[Any]:
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items

    def _name(self, name: str) -> None:
        self._check_name(name)
        self._stack.append(Named(name))

    def _made(self, maker: Any, arguments: Any) -> Any:
        if not isinstance(maker, Named) or not isinstance(arguments, tuple):
            raise ValueError("a call of what is no name")
        if maker.name in self._known:
            return self._known[maker.name](*arguments)
        return Named(maker.name)

    @staticmethod
    def _append(target: Any, items: list[Any]) -> None:
        if type(target) is list:
            target.extend(items)
        elif not isinstance(target, Named):  # A named object's content has no more part than it.
            raise ValueError("items of what is no list")

    @staticmethod
    def _set(target: Any, items: list[Any]) -> None:
        if type(target) in (dict, OrderedDict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                if not is_plain_key(key):
                    raise ValueError("a key that is no plain value")
                target[key] = value
        elif not isinstance(target, Named):
            raise ValueError("entries of what is no table")


def is_plain_key(key: Any) -> bool:
    """Whether hashing a value is quick and safe: a scalar, a name, or a flat tuple of scalars."""
    if type(key) is tuple:
        return all(isinstance(item, _SCALARS) for item in key)
    return isinstance(key, (*_SCALARS, Named))


def read_pickle(
    file: BinaryIO,
    *,
    known: Mapping[str, Callable],
    load_persistent: Callable[[Any], Any],
    check_name: Callable[[str], None] = lambda name: None,
) -> Any:
    """The value of one pickle of protocol 2 or later; the file is left behind it.

    ``known`` makes values of what it lists, by full name, and must hold against any arguments;
    ``load_persistent`` gives what lies outside of the pickle, ``check_name`` may raise for a name.
    Raises ValueError and others for a pickle that is damaged or too large.
    """
    machine = _Machine(known, load_persistent, check_name)
    start = file.tell()
    for opcode, argument, position in pickletools.genops(file):
        if position - start > LARGEST_PICKLE:
            raise ValueError("too large a pickle")
        if opcode.name == "STOP":
            break
        machine.run(opcode.name, argument)
    return machine.result()
