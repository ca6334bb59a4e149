"""From settings and a ``node_app`` marker to an AppSpec.  Floor 2: values in, values out.

The marker speaks for the test (paths relative to its file), settings for the whole suite (paths relative to the
root); an attach setting of the command line replaces whatever would have been started, because whoever gives
``--memory-inspector`` has started the app already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_memory import units
from pytest_memory.errors import ConfigError
from pytest_memory.node.spec import AppSpec
from pytest_memory.spec import Settings

# Keywords of the marker that AppSpec knows under the same name.
_SAME_NAME = ("env", "node", "node_options", "port", "ready", "precise", "url")
_DURATIONS = {"ready_timeout": "ready_timeout_s", "stop_timeout": "stop_timeout_s"}


def wanted_app(
    settings: Settings,
    *,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    test_directory: str,
    root_directory: str,
    precise: bool = False,
) -> AppSpec:
    """The app a test measures.  Raises ConfigError[config-app] when nobody has said which."""
    kwargs = kwargs or {}
    fields: dict[str, Any] = {name: kwargs[name] for name in _SAME_NAME if name in kwargs}
    for keyword, field in _DURATIONS.items():
        if keyword in kwargs:
            fields[field] = units.parse_duration(kwargs[keyword], plain_unit="s", what=f"node_app {keyword}")
    fields.setdefault("node", settings["node"])
    fields.setdefault("precise", precise)
    suite_attach = settings["inspector"]
    if suite_attach is not None and settings.source("inspector") in ("option", "environment"):
        return _attached(suite_attach, fields)
    attach = kwargs.get("inspector", kwargs.get("pid"))
    if attach is not None:
        return _attached(attach, fields)
    if args:
        return AppSpec(command=args[0], cwd=kwargs.get("cwd", test_directory), **fields)
    if "url" in kwargs:
        return _attached(kwargs["url"], fields)
    if suite_attach is not None:
        return _attached(suite_attach, fields)
    return _from_command(settings["app"], fields, kwargs.get("cwd", root_directory))


def _from_command(command: str | None, fields: dict[str, Any], directory: str) -> AppSpec:
    if command is None:
        raise ConfigError(
            "no app to test: neither @pytest.mark.node_app(...), --memory-app nor the ini key memory_app is given",
            slug="config-app",
            hint='mark the test, for example with @pytest.mark.node_app("server.js", ready="/health")',
        )
    if command.startswith(("http://", "https://")):
        return _attached(command, {**fields, "url": command})
    return AppSpec(command=command, cwd=directory, **fields)


def _attached(target: str | int, fields: Mapping[str, Any]) -> AppSpec:
    """An app that runs already: of the fields only those that do not concern its start."""
    kept = {name: fields[name] for name in ("url", "precise", "ready", "ready_timeout_s") if name in fields}
    return AppSpec(attach=target, **kept)
