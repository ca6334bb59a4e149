"""The settings of one command: defaults, files, environment and flags merged, and where each came from.  Floor 7."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from pytest_memory import config_file, spec


@dataclass(frozen=True, slots=True)
class Merged:
    """All settings; ``origins`` has the file, variable or flag of every setting that is not a default."""

    settings: spec.Settings
    origins: dict[str, str]


def merge(arguments: argparse.Namespace, directory: Path) -> Merged:
    """Merge what holds in ``directory`` for these arguments.  Raises ConfigError for the first value that is wrong."""
    flags = _flag_values(arguments)
    environment = spec.environment_values(os.environ)
    ini_file, ini = config_file.read_ini(directory)
    layers: dict[spec.Source, dict[str, object]] = {"ini": ini, "environment": environment, "option": flags}
    named = flags.get("config") or environment.get("config")
    file = directory / (str(named) if named else config_file.CONFIG_FILE)
    if not named and ini_file is not None and ini.get("config"):
        named = ini["config"]
        file = ini_file.parent / str(named)  # as pytest reads it
    if named or file.is_file():
        layers["config file"] = config_file.read_config_file(file)
    settings = _with_cli_defaults(spec.merge_settings(layers), arguments.command)
    return Merged(settings, _origins(settings, arguments.command, str(ini_file), str(file)))


def _flag_values(arguments: argparse.Namespace) -> dict[str, object]:
    """What the flags say, parsed as the command line means it: a plain number is milliseconds."""
    values: dict[str, object] = {}
    for option in spec.OPTIONS:
        raw = getattr(arguments, f"setting_{option.name}", None)
        if raw is not None:
            flag = option.cli_flags[-1]
            values[option.name] = option.cli_parse(raw, flag) if option.cli_parse else _checked(option, raw, flag)
    return values


def _checked(option: spec.Option, raw: object, flag: str) -> object:
    option.parse(raw, flag)  # refuse here, where the flag's name is known
    return raw


def _with_cli_defaults(settings: spec.Settings, tool: str) -> spec.Settings:
    merged = dict(settings.items())
    for option in spec.OPTIONS:
        if tool in option.tools and option.cli_default is not None and settings.source(option.name) == "default":
            merged[option.name] = spec.Setting(option.cli_default, "default")
    return spec.Settings(merged)


def _origins(settings: spec.Settings, tool: str, ini_file: str, config: str) -> dict[str, str]:
    origins = {}
    for name, setting in settings.items():
        option = spec.BY_NAME[name]
        places = {
            "config file": config,
            "ini": ini_file,
            "environment": option.environment_key,
            "option": option.cli_flags[-1] if tool in option.tools else option.pytest_flag,
        }
        if setting.source in places:
            origins[name] = places[setting.source]
    return origins
