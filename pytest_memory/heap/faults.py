"""Where a sampling heap profile is none: the first value that is wrong, and its place in the file.  Floor 2: pure.

Without recursion, as all that walks a profile: its stacks can be deeper than Python's.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Path = tuple[str, ...]
"""Keys from the outermost object on; positions in a list as text."""

_BLANKS = re.compile(r"[ \t\r\n]*")
_EXCERPT = 40


@dataclass(frozen=True, slots=True)
class Fault:
    """``path`` leads to the value that is wrong, or that is missing; ``found`` and ``expected`` are for the message."""

    path: Path
    found: str
    expected: str

    @property
    def field(self) -> str:
        """``head.children[3].selfSize``."""
        return "".join(f"[{key}]" if key.isdecimal() else f".{key}" for key in self.path).lstrip(".")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_Rule = tuple[str, Callable[[object], bool], str, bool]
_NODE: Sequence[_Rule] = (
    ("id", _is_whole, "a whole number", True),
    ("selfSize", _is_number, "a number of bytes", True),
    ("callFrame", lambda value: isinstance(value, Mapping), "an object with functionName", True),
    ("children", lambda value: isinstance(value, list), "a list", False),
)
_CALL: Sequence[_Rule] = (
    ("functionName", _is_text, "a text", True),
    ("url", _is_text, "a text", False),
    ("lineNumber", _is_whole, "a whole number", False),
    ("columnNumber", _is_whole, "a whole number", False),
)
_SAMPLE: Sequence[_Rule] = (
    ("nodeId", _is_whole, "a whole number", True),
    ("size", _is_number, "a number of bytes", True),
    ("ordinal", _is_whole, "a whole number", True),
)


def find_fault(payload: Mapping[str, Any]) -> Fault | None:
    """The first value that a SamplingHeapProfile cannot have; None when it is one."""
    return _fault_of_tree(payload) or _fault_of_samples(payload.get("samples", []))


def _fault_of_tree(payload: Mapping[str, Any]) -> Fault | None:
    if "head" not in payload:
        return Fault(("head",), "missing", "an object with callFrame, selfSize, id and children")
    nodes = [payload["head"]]
    places = [(-1, "head")]  # of each: where its parent stands here, and its key there
    position = 0
    while position < len(nodes):
        node = nodes[position]
        fault = _fault_of_object(node, _NODE) or _fault_of_object(node["callFrame"], _CALL, "callFrame")
        if fault is not None:
            return Fault((*_path_to(places, position), *fault.path), fault.found, fault.expected)
        children = node.get("children", ())
        nodes.extend(children)
        places.extend((position, str(number)) for number in range(len(children)))
        position += 1
    return None


def _path_to(places: Sequence[tuple[int, str]], position: int) -> Path:
    keys: list[str] = []
    while position >= 0:
        position, key = places[position]
        keys += [key, "children"] if position >= 0 else [key]
    return tuple(reversed(keys))


def _fault_of_samples(samples: object) -> Fault | None:
    if not isinstance(samples, list):
        return Fault(("samples",), _excerpt(samples), "a list")
    for number, sample in enumerate(samples):
        if (fault := _fault_of_object(sample, _SAMPLE)) is not None:
            return Fault(("samples", str(number), *fault.path), fault.found, fault.expected)
    return None


def _fault_of_object(value: object, rules: Sequence[_Rule], *path: str) -> Fault | None:
    if not isinstance(value, Mapping):
        return Fault(path, _excerpt(value), f"an object with {', '.join(rule[0] for rule in rules if rule[3])}")
    for key, is_right, expected, is_needed in rules:
        if key not in value:
            if is_needed:
                return Fault((*path, key), "missing", expected)
        elif not is_right(value[key]):
            return Fault((*path, key), _excerpt(value[key]), expected)
    return None


def _excerpt(value: object) -> str:
    text = f"a {type(value).__name__}" if isinstance(value, (list, Mapping)) else repr(value)
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}…"


def find_value(text: str, path: Path) -> int:
    """The character where the value at ``path`` begins in this JSON; where it is missing, what would hold it."""
    at = _skip_blanks(text, 0)
    for key in path:
        try:
            found = dict(_members(text, at)).get(key)
        except RecursionError:  # nested as deeply as could just be read
            return at
        if found is None:
            return at
        at = found
    return at


def _members(text: str, at: int) -> Iterator[tuple[str, int]]:
    """The keys of an object or list, and where their values begin; none of anything else."""
    if text[at] not in "{[":
        return
    is_object, number, decoder = text[at] == "{", 0, json.JSONDecoder()
    at = _skip_blanks(text, at + 1)
    while text[at] not in "]}":
        key = str(number)
        if is_object:
            key, at = decoder.raw_decode(text, at)
            at = _skip_blanks(text, _skip_blanks(text, at) + 1)  # the colon
        yield key, at
        _, at = decoder.raw_decode(text, at)
        at = _skip_blanks(text, at)
        if text[at] == ",":
            at = _skip_blanks(text, at + 1)
        number += 1


def _skip_blanks(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return at if match is None else match.end()
