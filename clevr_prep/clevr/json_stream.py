"""Reads one long array out of a JSON file item by item, in memory that does not grow.

CLEVR's training questions are 1.4 GB of JSON, several times that once parsed at a stretch.
"""

import codecs
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from snmn.common.errors import UserError, shown

_CHUNK = 1 << 20
# An item that is still not whole after this many characters is taken for a syntax error.
_LONGEST_ITEM = 1 << 26
_DELIMITERS = tuple(" \t\n\r,:]}")
_SPACE = re.compile(r"[ \t\n\r]*")


class JsonStreamError(UserError):
    """The file is not JSON, or has no such array; the message names the file."""


class JsonArray:
    """Iterates over the items of the array ``key`` of a JSON file that holds one object.

    Values of other keys in front of it are skipped; what follows it is not read. One pass.

    Args:
        path: the file, UTF-8, with a byte order mark or without.
        key: name of the array in the outermost object.

    Attributes:
        size: bytes in the file.
        position: bytes read so far, for a progress bar.

    Raises (while iterating): ``JsonStreamError``; ``OSError`` when the file cannot be read.
    """

    def __init__(self, path: str | os.PathLike, key: str):
        self.path = Path(path)
        self.key = key
        self.size = self.path.stat().st_size
        self.position = 0

    def __iter__(self) -> Iterator:
        with open(self.path, "rb") as self._file:
            self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
            self._decode = json.JSONDecoder().raw_decode
            self._buffer, self._at, self._ended = "", 0, False
            if self._next_character() == "[":
                raise JsonStreamError(
                    f"{self.path} holds a list; CLEVR's files hold an object with such a list in "
                    f'it, {{"{self.key}": [...]}}: put that around it'
                )
            self._expect("{")
            others = []
            while self._next_character() == '"':
                key = self._value()
                self._expect(":")
                if key == self.key and self._next_character() == "[":
                    yield from self._items()
                    return
                self._value()
                others.append(key)
                if self._next_character() == ",":
                    self._at += 1
            self._expect("}")
            found = f"; what it has is {shown(', '.join(others))}" if others else ""
            raise JsonStreamError(f"{self.path} has no array {self.key!r}{found}")

    def _items(self) -> Iterator:
        self._expect("[")
        if self._next_character() == "]":
            return
        while True:
            yield self._value()
            if self._next_character() == "]":
                return
            self._expect(",")

    def _fail(self, reason: str) -> JsonStreamError:
        return JsonStreamError(f"{self.path} is not valid JSON: {reason}")

    def _read_more(self) -> None:
        data = self._file.read(_CHUNK)
        self._ended = not data
        if not self.position and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise self._fail("it is in UTF-16; save it in UTF-8")
        self.position += len(data)
        try:
            text = self._utf8.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            raise self._fail(str(error)) from None
        self._buffer = self._buffer[self._at :] + text
        self._at = 0

    def _next_character(self) -> str:
        """The next character that is not space, left in place; empty at the end of the file."""
        while True:
            self._at = _SPACE.match(self._buffer, self._at).end()
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if self._ended:
                return ""
            self._read_more()

    def _expect(self, character: str) -> None:
        found = self._next_character()
        if found != character:
            raise self._fail(f"{character!r} expected, not {found or 'the end of the file'!r}")
        self._at += 1

    def _value(self):
        """The next value, decoded; reads on while the buffer ends within it."""
        self._next_character()
        while True:
            reason = "an item is cut short"
            try:
                value, end = self._decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                reason = error.msg
            except RecursionError:
                raise self._fail("it is nested too deeply") from None
            except ValueError:  # Python converts no number of more than 4,300 digits.
                raise self._fail("it has a number that is far too long") from None
            else:
                # "1" may be all of "1.5e3" that the buffer has: only a delimiter ends a value.
                if self._ended or self._buffer[end : end + 1] in _DELIMITERS:
                    self._at = end
                    return value
            if self._ended or len(self._buffer) - self._at > _LONGEST_ITEM:
                raise self._fail(reason)
            self._read_more()
