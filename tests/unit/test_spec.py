"""The options table: merging by source, markers, memory-config.json."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memory import spec
from pytest_memory.errors import ConfigError


def test_names_keys_and_markers_are_unique() -> None:
    assert len(spec.BY_NAME) == len(spec.OPTIONS)
    for attribute in ("marker", "config_key"):
        values = [getattr(option, attribute) for option in spec.OPTIONS if getattr(option, attribute)]
        assert len(values) == len(set(values))


def test_every_default_is_what_parsing_its_own_text_gives() -> None:
    for option in spec.OPTIONS:
        if option.default is not None and isinstance(option.default, (str, bool)):
            assert option.parse(option.default, option.name) == option.default


def test_sources_win_in_their_order_whatever_order_they_are_given_in() -> None:
    layers: dict[spec.Source, dict[str, object]] = {
        "marker": {"max_heap_growth": "1MB"},
        "option": {"max_heap_growth": "2MB", "interval": "2s"},
        "ini": {"max_heap_growth": "3MB", "interval": "3s", "load_concurrency": "7"},
        "config file": {"interval": 4000, "load_concurrency": 8, "load_duration": 9000},
    }
    settings = spec.merge_settings(layers)
    assert settings["max_heap_growth"].value == 1e6
    assert settings.source("max_heap_growth") == "marker"
    assert (settings["interval"], settings.source("interval")) == (2.0, "option")
    assert (settings["load_concurrency"], settings.source("load_concurrency")) == (7, "ini")
    assert (settings["load_duration"], settings.source("load_duration")) == (9.0, "config file")
    assert (settings["fail_on"], settings.source("fail_on")) == ("critical", "default")


def test_none_in_a_layer_says_nothing() -> None:
    assert spec.merge_settings({"option": {"interval": None}}).source("interval") == "default"


@pytest.mark.parametrize(
    ("name", "value", "source", "place"),
    [
        ("interval", "1ms", "option", "--memory-interval"),
        ("interval", 5, "config file", "monitor.interval"),
        ("max_heap_growth", "64 MBananas", "marker", "@pytest.mark.max_heap_growth"),
        ("load_concurrency", "0", "ini", "memory_load_concurrency"),
        ("fail_on", "sometimes", "environment", "PYTEST_MEMORY_FAIL_ON"),
        ("max_gc_count", "2.5", "marker", "@pytest.mark.max_gc_count"),
        ("max_gc_pause", "0", "option", "--memory-max-gc-pause"),
        ("app", "  ", "option", "--memory-app"),
        ("disable", "maybe", "ini", "memory_disable"),
    ],
)
def test_a_bad_value_is_refused_naming_where_it_was_written(
    name: str, value: object, source: spec.Source, place: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        spec.merge_settings({source: {name: value}})
    assert place in str(caught.value)
    assert repr(value) in str(caught.value)


def test_environment_variables_are_read_by_their_prefix() -> None:
    values = spec.environment_values({"PYTEST_MEMORY_INTERVAL": "500ms", "PYTEST_MEMORY_APP": "", "HOME": "/"})
    assert values == {"interval": "500ms"}


FULL_CONFIG = {
    "monitor": {
        "interval": 1000,
        "duration": 300000,
        "thresholds": {"heapGrowth": 52428800, "rssGrowth": 104857600, "gcFrequency": 100},
    },
    "loadTest": {"concurrency": 10, "duration": 60000, "rampUp": 5000},
}


def test_the_whole_config_file_is_read() -> None:
    values = spec.parse_config_text(json.dumps(FULL_CONFIG), "memory-config.json")
    settings = spec.merge_settings({"config file": values})
    assert settings["interval"] == 1.0
    assert settings["duration"] == 300.0
    assert settings["heap_growth_warning"] == 52428800
    assert settings["rss_growth_warning"] == 104857600
    assert settings["gc_count_warning"] == 100
    assert settings["load_concurrency"] == 10
    assert settings["load_duration"] == 60.0
    assert settings["load_ramp_up"] == 5.0


def test_the_published_schema_accepts_the_config_and_refuses_a_typo() -> None:
    schema = spec.config_schema()
    jsonschema.validate(FULL_CONFIG, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"monitor": {"intervall": 1}}, schema)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON"),
        ("[]", "expected an object"),
        ('{"monitor": 5}', "expected an object"),
        ('{"monitor": {"intervall": 1}}', "did you mean 'monitor.interval'?"),
        ('{"loadtest": {}}', "did you mean 'loadTest'?"),
        ('{"zzz": 1}', "known keys are"),
        ('{"monitor": {"interval": "fast"}}', "monitor.interval"),
        ('{"loadTest": {"concurrency": -1}}', "loadTest.concurrency"),
    ],
)
def test_a_wrong_config_file_is_refused_with_the_nearest_key(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        spec.parse_config_text(text, "memory-config.json")
    assert words in str(caught.value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.dictionaries(st.text(), x)))
def test_any_json_is_read_or_refused(document: object) -> None:
    try:
        spec.parse_config_text(json.dumps(document), "f")
    except ConfigError:
        pass
