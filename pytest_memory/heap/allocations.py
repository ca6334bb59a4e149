"""What V8's sampling heap profiler saw: which function allocated what is still alive.  Floor 2: values in, values out.

A profile is a tree of call frames with the estimated bytes each allocated itself and that live at the moment of
asking; collected objects are not in it.  V8 gives the start of the function, not the line of the allocation.
The stored form is the ``.heapprofile`` that Chrome DevTools opens (Memory → Load profile).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_memory import units
from pytest_memory.errors import SnapshotFormatError
from pytest_memory.heap.faults import Fault, find_fault, find_value
from pytest_memory.values import check_not_negative

DEFAULT_SAMPLING_INTERVAL_BYTES = 32 * 1024
"""Mean distance of two samples: costs about 10 % of CPU and sees a leak of 2 MB in 60 samples."""


@dataclass(frozen=True, slots=True)
class AllocationSite:
    """A function and what it allocated that is alive: estimated ``size_bytes`` in ``samples`` samples.

    ``line`` and ``column`` are 1-based and those of the function's start, 0 where V8 gives none (built-ins);
    ``callers`` are the functions on the heaviest stack that led here, nearest first."""

    function: str
    url: str
    line: int
    column: int
    size_bytes: int
    samples: int
    callers: tuple[str, ...] = ()

    @property
    def location(self) -> str:
        """``src/cache.js:12:3``, or "" for a built-in."""
        return f"{self.url}:{self.line}:{self.column}" if self.url else ""


@dataclass(frozen=True, slots=True)
class _Frame:
    """One node of the tree, flattened: ``parent`` is a position in the list of frames, -1 for the root."""

    node: Mapping[str, Any]
    parent: int


class AllocationProfile:
    """One profile of live allocations.  ``payload`` is what the inspector calls a SamplingHeapProfile."""

    def __init__(self, payload: Mapping[str, Any], *, name: str = "profile") -> None:
        """Raises SnapshotFormatError when ``payload`` is no such profile."""
        if (fault := find_fault(payload)) is not None:
            raise _refusal(name, fault)
        self._frames = list(_flatten(payload["head"]))
        self._samples = [dict(sample) for sample in payload.get("samples", ())]
        self._by_id = {int(frame.node["id"]): position for position, frame in enumerate(self._frames)}
        self.total_bytes = sum(int(frame.node["selfSize"]) for frame in self._frames)
        self.last_ordinal = max((int(sample["ordinal"]) for sample in self._samples), default=0)

    @property
    def sample_count(self) -> int:
        """Samples that are still alive."""
        return len(self._samples)

    def since(self, ordinal: int) -> AllocationProfile:
        """What was allocated after the sample with this ordinal and is alive (see ``last_ordinal``)."""
        samples = [sample for sample in self._samples if int(sample["ordinal"]) > ordinal]
        sizes: dict[int, int] = defaultdict(int)
        for sample in samples:
            sizes[int(sample["nodeId"])] += int(sample["size"])
        return AllocationProfile({"head": self._rebuild(sizes), "samples": samples})

    def top_sites(self, limit: int = 10) -> tuple[AllocationSite, ...]:
        """The functions that allocated most of what is alive, largest first."""
        check_not_negative(limit, "limit")
        sizes: dict[tuple[str, str, int, int], int] = defaultdict(int)
        heaviest: dict[tuple[str, str, int, int], int] = {}
        for position, frame in enumerate(self._frames):
            size = int(frame.node["selfSize"])
            if size <= 0:
                continue
            key = _site_key(frame.node)
            sizes[key] += size
            if key not in heaviest or size > int(self._frames[heaviest[key]].node["selfSize"]):
                heaviest[key] = position
        counts = self._sample_counts()
        largest = sorted(sizes, key=lambda key: (-sizes[key], key))[:limit]
        return tuple(AllocationSite(*key, sizes[key], counts[key], self._callers(heaviest[key])) for key in largest)

    def encode(self) -> bytes:
        """The profile as a ``.heapprofile``."""
        sizes = {int(frame.node["id"]): int(frame.node["selfSize"]) for frame in self._frames}
        document = {"head": self._rebuild(sizes), "samples": self._samples}
        return json.dumps(document, separators=(",", ":")).encode()

    def _sample_counts(self) -> dict[tuple[str, str, int, int], int]:
        counts: dict[tuple[str, str, int, int], int] = defaultdict(int)
        for sample in self._samples:
            position = self._by_id.get(int(sample["nodeId"]))
            if position is not None:
                counts[_site_key(self._frames[position].node)] += 1
        return counts

    def _callers(self, position: int) -> tuple[str, ...]:
        names = []
        parent = self._frames[position].parent
        while parent > 0:  # 0 is "(root)"
            names.append(str(self._frames[parent].node["callFrame"]["functionName"]) or "(anonymous)")
            parent = self._frames[parent].parent
        return tuple(names)

    def _rebuild(self, sizes: Mapping[int, int]) -> dict[str, Any]:
        """The tree with these sizes by node id, without branches that have none."""
        needed = [False] * len(self._frames)
        for position in range(len(self._frames) - 1, -1, -1):  # children stand behind their parents
            frame = self._frames[position]
            needed[position] = needed[position] or sizes.get(int(frame.node["id"]), 0) > 0
            if needed[position] and frame.parent >= 0:
                needed[frame.parent] = True
        built: dict[int, dict[str, Any]] = {}
        for position, frame in enumerate(self._frames):
            if needed[position] or position == 0:
                id_ = int(frame.node["id"])
                built[position] = {
                    "callFrame": frame.node["callFrame"],
                    "selfSize": sizes.get(id_, 0),
                    "id": id_,
                    "children": [],
                }
                if frame.parent >= 0:
                    built[frame.parent]["children"].append(built[position])
        return built[0]


def parse_profile(data: bytes, *, name: str) -> AllocationProfile:
    """Read a ``.heapprofile``.  Raises SnapshotFormatError with the byte where it stops being one."""
    if not data:
        raise SnapshotFormatError(
            f"{name!r} is empty; expected a .heapprofile", slug="snapshot-truncated", byte_offset=0, field="head"
        )
    encoding = json.detect_encoding(data)
    try:
        text = data.decode(encoding, "surrogatepass")
        payload = json.loads(text)
    except (ValueError, RecursionError) as error:
        at = error.start if isinstance(error, UnicodeDecodeError) else 0
        if isinstance(error, json.JSONDecodeError):
            at = _size_in(encoding, text[: error.pos])
        raise SnapshotFormatError(
            f"{name!r} is no JSON at byte {at:,}: {error}; expected a .heapprofile", byte_offset=at, field="head"
        ) from None
    if not isinstance(payload, dict):
        raise SnapshotFormatError(
            f"{name!r} holds a JSON {type(payload).__name__}; expected an object", byte_offset=0, field="head"
        )
    if (fault := find_fault(payload)) is not None:
        raise _refusal(name, fault, _size_in(encoding, text[: find_value(text, fault.path)]))
    return AllocationProfile(payload, name=name)


def _size_in(encoding: str, text: str) -> int:
    return len(text.encode(encoding, "surrogatepass"))


def _refusal(name: str, fault: Fault, byte_offset: int | None = None) -> SnapshotFormatError:
    where = "" if byte_offset is None else f" at byte {byte_offset:,}"
    return SnapshotFormatError(
        f"{name!r} is no sampling heap profile: {fault.field} is {fault.found}{where}; expected {fault.expected}",
        field=fault.field,
        byte_offset=byte_offset or 0,
        hint="a CPU profile or a heap snapshot is another file",
    )


def site_table(sites: Sequence[AllocationSite], total_bytes: int) -> str:
    """Sites as lines of text: function, size, share of ``total_bytes``, samples, place, callers."""
    if not sites:
        return "nothing that was allocated meanwhile is alive"
    rows = [("allocated by", "size", "share", "samples", "where")]
    for site in sites:
        share = f"{100 * site.size_bytes / max(1, total_bytes):.1f} %"
        where = site.location or (f"called by {site.callers[0]}" if site.callers else "")
        cells = (site.function, units.format_size(site.size_bytes), share, units.format_count(site.samples), where)
        rows.append(tuple(_printable(cell) for cell in cells))  # type: ignore[arg-type]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}  {row[4]}".rstrip()
        for row in rows
    )


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "�" for char in text)


def _flatten(head: Mapping[str, Any]) -> Iterator[_Frame]:
    """All nodes, parents before children.  Without recursion: stacks can be deeper than Python's."""
    frames = [_Frame(head, -1)]
    position = 0
    while position < len(frames):
        yield frames[position]
        frames.extend(_Frame(child, position) for child in frames[position].node.get("children", ()))
        position += 1


def _site_key(node: Mapping[str, Any]) -> tuple[str, str, int, int]:
    call = node["callFrame"]
    url = str(call.get("url", ""))
    # V8 counts from 0 and says -1 for built-ins.
    line, column = int(call.get("lineNumber", -1)) + 1, int(call.get("columnNumber", -1)) + 1
    return str(call["functionName"]) or "(anonymous)", url, line if url else 0, column if url else 0
