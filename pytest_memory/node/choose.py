"""From settings and a ``node_app`` marker to an AppSpec.  Floor 2: values in, values out.

The marker speaks for the test (paths relative to its file), settings for the whole suite (paths relative to the
root); an attach setting of the suite replaces whatever would have been started, because whoever gives
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
_LOCAL_URL = ("http://", "https://")


def choose_app(
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
    if settings["inspector"] is not None and settings.source("inspector") in ("option", "environment"):
        return AppSpec(attach=settings["inspector"], url=fields.get("url"), precise=fields["precise"])
    attach = kwargs.get("inspector", kwargs.get("pid"))
    if attach is not None:
        return AppSpec(attach=attach, url=fields.get("url"), precise=fields["precise"])
    if args:
        return AppSpec(command=args[0], cwd=kwargs.get("cwd", test_directory), **fields)
    if "url" in kwargs:
        return AppSpec(attach=kwargs["url"], url=kwargs["url"], precise=fields["precise"])
    return _from_settings(settings, fields, root_directory)


def _from_settings(settings: Settings, fields: dict[str, Any], root_directory: str) -> AppSpec:
    command = settings["app"]
    if settings["inspector"] is not None:
        return AppSpec(attach=settings["inspector"], url=fields.get("url"), precise=fields["precise"])
    if command is None:
        raise ConfigError(
            "no app to test: neither @pytest.mark.node_app(...), --memory-app nor the ini key memory_app is given",
            slug="config-app",
            hint='mark the test, for example with @pytest.mark.node_app("server.js", ready="/health")',
        )
    if command.startswith(_LOCAL_URL):
        return AppSpec(attach=command, url=command, precise=fields["precise"])
    return AppSpec(command=command, cwd=root_directory, **fields)
