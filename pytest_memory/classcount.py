"""Count the objects of an app by class, without a heap snapshot.  Floor 5.

V8 walks the heap for everything that inherits from Object.prototype (`Runtime.queryObjects`, a tenth of a second at
10 MB) and a function in the app adds it up by constructor.  Strings, numbers and objects without a prototype are
not seen.  The walk leaves a list of all objects behind until it is released: never while sizes are measured.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

COUNT_TIMEOUT_S: Final = 20.0
MAX_HEAP_BYTES: Final = 256 * 1024 * 1024
"""Larger heaps are not counted: the list of their objects would take megabytes and the walk seconds."""

_GROUP = "pytest-memory.count"
# Prototypes are told apart by identity and named afterwards: reading `constructor` of every object could run the
# app's getters.
_ADD_UP = """function () {
  const byPrototype = new Map();
  for (let i = 0; i < this.length; i += 1) {
    let prototype;
    try { prototype = Object.getPrototypeOf(this[i]); } catch { continue; }
    byPrototype.set(prototype, (byPrototype.get(prototype) ?? 0) + 1);
  }
  const byName = {};
  for (const [prototype, count] of byPrototype) {
    const made = prototype && Object.getOwnPropertyDescriptor(prototype, 'constructor')?.value;
    const name = (typeof made === 'function' && made.name) || '(anonymous)';
    byName[name] = (Object.hasOwn(byName, name) ? byName[name] : 0) + count;
  }
  return byName;
}"""


class CountedIsolate(Protocol):
    """What counting needs: commands to one isolate."""

    def call(self, method: str, params: dict[str, Any] | None = None, *, timeout_s: float = ...) -> dict[str, Any]: ...


def count_classes(isolate: CountedIsolate) -> dict[str, int]:
    """Living objects by the name of their constructor, after a collection.

    Raises InspectorError when the app does not answer."""
    try:
        prototype = isolate.call(
            "Runtime.evaluate", {"expression": "Object.prototype", "objectGroup": _GROUP}, timeout_s=COUNT_TIMEOUT_S
        )
        objects = isolate.call(
            "Runtime.queryObjects",
            {"prototypeObjectId": prototype["result"]["objectId"], "objectGroup": _GROUP},
            timeout_s=COUNT_TIMEOUT_S,
        )
        answer = isolate.call(
            "Runtime.callFunctionOn",
            {
                "functionDeclaration": _ADD_UP,
                "objectId": objects["objects"]["objectId"],
                "returnByValue": True,
                "silent": True,
            },
            timeout_s=COUNT_TIMEOUT_S,
        )
    finally:
        isolate.call("Runtime.releaseObjectGroup", {"objectGroup": _GROUP}, timeout_s=COUNT_TIMEOUT_S)
    return {str(name): int(count) for name, count in answer["result"]["value"].items()}
