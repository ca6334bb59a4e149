"""Work done inside the app: a JavaScript expression, repeated there.  Floor 5.

A leak test's operation may be an expression instead of a call from Python.  One inspector command each would cost a
third of a millisecond and leave a few bytes behind in the app, which a test of ten thousand units mistakes for the
work's own; so the repeating is done in the app, and a command goes over the wire four times a second.
It judges nothing and takes no readings.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, Protocol

from pytest_memory.errors import ConfigError, InspectorCommandError
from pytest_memory.model import LoadStats

PORTION_S: Final = 0.25
"""How long one call repeats the expression: short against a round, long against a command."""

PORTION_UNITS: Final = 1000
UNIT_TIMEOUT_S: Final = 60.0
"""The longest a single evaluation of the expression may take."""

# `require` is at hand only while an evaluated expression runs, so the function keeps it. A turn of the event loop now
# and then: timers and sockets of the app go on, as they do between requests.
_DEFINE = """((require) => {
  globalThis[Symbol.for('pytest-memory.operation')] = async () => (
%s
  );
})(require)"""
_REPEAT = f"""(async () => {{
  const operation = globalThis[Symbol.for('pytest-memory.operation')];
  const until = performance.now() + {PORTION_S * 1000:.0f};
  let done = 0;
  while (done < {PORTION_UNITS} && (done === 0 || performance.now() < until)) {{
    await operation();
    done += 1;
    if (done % 50 === 0) await new Promise((turned) => setImmediate(turned));
  }}
  return done;
}})()"""


class EvaluatingApp(Protocol):
    """What is needed of the app: `NodeApp.evaluate`."""

    def evaluate(self, js: str, *, timeout_s: float = ..., await_promise: bool = ...) -> Any: ...


def repeat_in_app(app: EvaluatingApp, expression: str) -> Callable[[], LoadStats]:
    """A call that evaluates ``expression`` in the app many times, awaiting each, and says how often it did.

    ``require`` and ``await`` may be used in it.  Raises ConfigError when it is no expression; an exception it throws
    is raised by the call as InspectorCommandError.
    """
    body = expression.strip().rstrip(";")
    if not body:
        raise ConfigError(
            f"the leak test's operation is {expression!r}; expected a JavaScript expression",
            slug="config-expression",
            hint='name what the app shall do, like "globalThis.queue.runOnce()"',
        )
    try:
        app.evaluate(_DEFINE % body)
    except InspectorCommandError as error:
        raise ConfigError(
            f"the leak test's operation is no JavaScript expression: {json.dumps(expression)} ({error.message})",
            slug="config-expression",
            hint="wrap statements in a function that is called: (() => { ... })()",
        ) from error

    def repeat() -> LoadStats:
        done = app.evaluate(_REPEAT, timeout_s=UNIT_TIMEOUT_S, await_promise=True)
        return LoadStats(requests=int(done))

    return repeat
