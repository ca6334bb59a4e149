"""Errors: what happened, the value, a hint; a closed vocabulary of slugs that the documentation covers."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from pytest_memory import errors

MESSAGES = Path(__file__).parents[2] / "docs" / "messages.md"


def error_classes() -> list[type[errors.PytestMemoryError]]:
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.PytestMemoryError) and value.slugs
    ]


def test_an_error_reads_as_class_slug_message_and_hint() -> None:
    error = errors.ConfigError("it is 5; expected 4", slug="config-unit", hint="take 4")
    assert str(error) == "ConfigError[config-unit]: it is 5; expected 4\n  hint: take 4"


def test_an_app_error_shows_the_last_output() -> None:
    error = errors.AppError("it died", slug="app-died", exit_status=3, output_tail="one\ntwo", hint="look")
    assert str(error).splitlines() == [
        "AppError[app-died]: it died",
        "  last output:",
        "    one",
        "    two",
        "  hint: look",
    ]


def test_a_slug_that_is_not_documented_is_a_programming_mistake() -> None:
    with pytest.raises(ValueError, match="no slug 'nonsense'"):
        errors.ConfigError("x", slug="nonsense")


def test_slugs_belong_to_one_class() -> None:
    slugs = [slug for cls in error_classes() for slug in cls.slugs]
    assert len(slugs) == len(set(slugs))


@pytest.mark.parametrize("cls", error_classes(), ids=lambda cls: cls.__name__)
def test_errors_cross_process_borders(cls: type[errors.PytestMemoryError]) -> None:
    error = cls("message", hint="hint")
    error.__dict__["extra"] = 5
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert str(copy) == str(error)
    assert copy.__dict__["extra"] == 5


def test_every_slug_has_its_entry_in_the_messages_page_and_none_is_extra() -> None:
    documented = set(re.findall(r"^### `([a-z-]+)`$", MESSAGES.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert documented == {slug for cls in error_classes() for slug in cls.slugs}
