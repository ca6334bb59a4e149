"""Every error this package raises, split by who must act.  Floor 0: imports nothing of ours.

An error has a stable *slug* (documented in docs/messages.md with cause and remedy), a message of the form
"what happened; the value and where; what was expected", and an optional hint with the next action.  The two
fronts (plugin, cli) decide what an error means for the exit status; nobody else catches the base class.
"""

from __future__ import annotations

from typing import ClassVar


class PytestMemoryError(Exception):
    """Base of all errors of this package.

    ``slug`` must be one of the class's ``slugs``: they are the closed, documented vocabulary.
    """

    slugs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, message: str, *, slug: str | None = None, hint: str | None = None) -> None:
        chosen = slug if slug is not None else self.slugs[0]
        if chosen not in self.slugs:
            raise ValueError(f"{type(self).__name__} has no slug {chosen!r}; it has {', '.join(self.slugs)}")
        super().__init__(message)
        self.message = message
        self.slug = chosen
        self.hint = hint

    def __str__(self) -> str:
        text = f"{type(self).__name__}[{self.slug}]: {self.message}"
        return f"{text}\n  hint: {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross the process border of the load worker.
        return (_rebuild, (type(self), self.message, self.slug, self.hint, self.__dict__.copy()))


def _rebuild(
    cls: type[PytestMemoryError], message: str, slug: str, hint: str | None, state: dict[str, object]
) -> PytestMemoryError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.__dict__.update(state, message=message, slug=slug, hint=hint)
    return error


class ConfigError(PytestMemoryError):
    """The test author must act: a marker, an option or a configuration file is wrong."""

    slugs: ClassVar[tuple[str, ...]] = (
        "config",
        "config-unit",
        "config-expression",
        "config-marker",
        "config-option",
        "config-file",
        "config-app",
        "config-load",
        "config-node-missing",
        "config-public-target",
    )


class AppError(PytestMemoryError):
    """The app under test must be looked at: it did not start, was not ready, or died."""

    slugs: ClassVar[tuple[str, ...]] = (
        "app-not-started",
        "app-not-ready",
        "app-exited",
        "app-died",
        "app-not-found",
        "app-not-stopped",
        "app-port-taken",
    )

    def __init__(
        self,
        message: str,
        *,
        slug: str | None = None,
        hint: str | None = None,
        exit_status: int | None = None,
        output_tail: str = "",
    ) -> None:
        super().__init__(message, slug=slug, hint=hint)
        self.exit_status = exit_status
        self.output_tail = output_tail

    def __str__(self) -> str:
        text = f"{type(self).__name__}[{self.slug}]: {self.message}"
        if self.output_tail:
            tail = "\n".join(f"    {line}" for line in self.output_tail.splitlines()[-20:])
            text = f"{text}\n  last output:\n{tail}"
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class InspectorError(PytestMemoryError):
    """The inspector connection failed."""

    slugs: ClassVar[tuple[str, ...]] = ("inspector", "inspector-unreachable", "inspector-refused")


class InspectorCommandError(InspectorError):
    """Node answered a command with an error."""

    slugs: ClassVar[tuple[str, ...]] = ("inspector-command",)

    def __init__(
        self, message: str, *, slug: str | None = None, hint: str | None = None, code: int | None = None
    ) -> None:
        super().__init__(message, slug=slug, hint=hint)
        self.code = code


class InspectorProtocolError(InspectorError):
    """The inspector sent something that is not a protocol message."""

    slugs: ClassVar[tuple[str, ...]] = ("inspector-protocol",)


class InspectorTimeout(InspectorError):
    """A command was not answered before its deadline."""

    slugs: ClassVar[tuple[str, ...]] = ("inspector-timeout",)


class InspectorClosed(InspectorError):
    """The connection is closed: the app went away, or closed its inspector."""

    slugs: ClassVar[tuple[str, ...]] = ("inspector-closed",)


class MonitorError(PytestMemoryError):
    """A measurement could not be made as asked."""

    slugs: ClassVar[tuple[str, ...]] = ("monitor-not-measured", "monitor-too-few-samples", "monitor-state")


class LoadError(PytestMemoryError):
    """The load could not be driven."""

    slugs: ClassVar[tuple[str, ...]] = ("load-failed", "load-target", "load-worker-died", "load-limit", "load-har")


class SnapshotFormatError(PytestMemoryError):
    """A file is not a whole V8 heap snapshot.  ``byte_offset`` and ``field`` say where it stops being one: a section or
    what is in it; ``"file"`` where it is the file itself (an archive that cannot be unpacked)."""

    slugs: ClassVar[tuple[str, ...]] = (
        "snapshot-format",
        "snapshot-truncated",
        "snapshot-not-a-snapshot",
        "snapshot-counts",
        "snapshot-index",
        "snapshot-changed",
    )

    def __init__(
        self,
        message: str,
        *,
        slug: str | None = None,
        hint: str | None = None,
        byte_offset: int = 0,
        field: str = "file",
    ) -> None:
        super().__init__(message, slug=slug, hint=hint)
        self.byte_offset = byte_offset
        self.field = field


class CaptureError(PytestMemoryError):
    """A heap snapshot or profile could not be taken."""

    slugs: ClassVar[tuple[str, ...]] = (
        "capture-headroom",
        "capture-disk",
        "capture-timeout",
        "capture-state",
        "capture-worker",
    )


class ResultFormatError(PytestMemoryError):
    """A result or baseline file cannot be read: corrupt, too new, or something else altogether."""

    slugs: ClassVar[tuple[str, ...]] = (
        "result-format",
        "result-corrupt",
        "result-newer",
        "result-not-a-file",
        "result-conflict-markers",
    )


class StoreError(PytestMemoryError):
    """A file could not be written or locked."""

    slugs: ClassVar[tuple[str, ...]] = ("store-write", "store-lock", "store-git")


class PytestMemoryWarning(UserWarning):
    """Measured, but doubtful: few samples, late load, a clock jump.  Also recorded in the result."""

    def __init__(self, message: str, *, slug: str = "measurement-doubtful") -> None:
        super().__init__(message)
        self.slug = slug
