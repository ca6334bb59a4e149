"""Names of classes, references and strings as people can read them.  Floor 2: text in, text out."""

from __future__ import annotations

import re

_PRINTABLE_LIMIT = 200
_IDENTIFIER = re.compile(r"[\w$#]+")


class ClassPattern:
    """A class name with ``*`` for anything and ``?`` for one character; ``None`` fits every class.

    Case counts, as it does in JavaScript.  Brackets mean themselves: class names are full of them.
    """

    def __init__(self, pattern: str | None) -> None:
        self.pattern = pattern
        text = "*" if pattern is None else pattern
        translated = "".join(".*" if char == "*" else "." if char == "?" else re.escape(char) for char in text)
        self._regex = re.compile(translated, re.DOTALL)

    def fits(self, name: str) -> bool:
        return self._regex.fullmatch(name) is not None


def printable(text: str, limit: int = _PRINTABLE_LIMIT) -> str:
    """Text that can be written anywhere: lone surrogates and control characters escaped, length bounded."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    clean = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if clean.isprintable():
        return clean
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in clean)


def reference(kind: str, name: str | int) -> str:
    """How an edge reads behind the name of its owner: ``sessions``, ``[12]``, ``["a b"]``."""
    if isinstance(name, int):
        return f"[{name}]"
    if kind in ("internal", "hidden") and name.isdigit():
        return f"[{name}]"
    if _IDENTIFIER.fullmatch(name) or name.startswith("<symbol"):
        return name
    return f'["{printable(name, 60)}"]'


_INDEX = re.compile(r'\[[^"\]]*\]')


def without_indexes(text: str) -> str:
    """``table[1021]`` → ``table[]``: what equal ways have in common.  Quoted names stay: they are no indexes."""
    return _INDEX.sub("[]", text)
