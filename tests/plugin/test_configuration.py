"""Options, ini keys, config files and markers: what is wrong is said before anything is started."""

from __future__ import annotations

import pytest

USAGE_ERROR = 4


def test_help_lists_every_option_and_every_marker(bare_project) -> None:
    result = bare_project.run("--help")
    result.stdout.fnmatch_lines(["memory regression testing*", "*--memory-app=*", "*--memory-fail-on=*"])
    markers = bare_project.run("--markers")
    for name in ("node_app", "max_heap_growth", "no_leaks", "memory_baseline", "max_gc_pause"):
        markers.stdout.fnmatch_lines([f"@pytest.mark.{name}(*"])


def test_fixtures_say_what_they_are(bare_project) -> None:
    bare_project.run("--fixtures", "-v").stdout.fnmatch_lines(
        ["node_app*", "*app under test*", "memory_monitor*", "*Watches*", "load_generator*", "*Sends load*"]
    )


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ('max_heap_growth("64 MBananas")', "*MBananas*expected a size*"),
        ('max_heap_growth("-5MB")', "*'-5MB'*"),
        ("max_heap_growth(0)", "*greater than zero*"),
        ('max_heap_growth("50MB", unit="x")', "*has no keyword 'unit'*"),
        ('no_leaks("100B/request", round=5)', "*has no keyword 'round'*"),
        ("node_app()", "*expected a command*"),
        ('node_app("s.js", redy="/")', "*has no keyword 'redy'*"),
        ('node_app("s.js", ready="health")', "*ready is 'health'*"),
        ('node_app("s.js", port=99999)', "*port is 99999*"),
        ("max_gc_pause('soon')", "*'soon'*"),
        ("max_heap_growth('1KB/job')", "*'1KB/job'*per request*"),
        ("node_app('s.js', node_options=\"--title='x\")", "*node_options*balanced quotes*"),
        ("node_app('s.js', url=5)", "*url is 5*"),
        ("node_app(url=5)", "*is 5*expected*"),
        ("node_app('s.js', cwd=5)", "*cwd is 5*"),
        ("node_app('s.js', node=5)", "*node is 5*"),
        ("node_app(pid='x')", "*what to attach to is 'x'*"),
        ("no_leaks(kinds=['heaps'])", "*kinds is [[]'heaps'[]]*"),
        ("no_leaks(unit=5)", "*unit is 5*"),
        ("no_leaks(max_duration=0)", "*max_duration is 0*"),
        ("no_leaks(precise='no')", "*precise is 'no'*"),
    ],
)
def test_a_wrong_marker_is_a_usage_error_at_collection(bare_project, marker: str, words: str) -> None:
    bare_project.test(f"import pytest\n@pytest.mark.{marker}\ndef test_it(): raise AssertionError('reached')\n")
    result = bare_project.run("--strict-markers")
    assert result.ret == USAGE_ERROR
    result.stderr.fnmatch_lines([words])
    assert "reached" not in result.stdout.str()


@pytest.mark.parametrize("marker", ['max_heap_growth("64 MBananas")', 'node_app("s.js", port=99999)'])
def test_a_wrong_marker_fails_its_test_where_workers_run_it(bare_project, marker: str) -> None:
    """A worker of pytest-xdist that refuses to collect is an internal error, and nobody reads why."""
    bare_project.test(
        f"import pytest\n@pytest.mark.{marker}\ndef test_it(): raise AssertionError('reached')\ndef test_ok(): pass\n"
    )
    result = bare_project.run("-n", "2")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*MBananas*expected a size*" if "MB" in marker else "*port is 99999*"])
    assert "reached" not in result.stdout.str()


def test_all_wrong_markers_are_listed_at_once(bare_project) -> None:
    bare_project.test(
        "import pytest\n"
        "@pytest.mark.max_heap_growth('x')\ndef test_a(): pass\n"
        "@pytest.mark.max_heap_growth('y')\ndef test_b(): pass\n"
    )
    bare_project.run().stderr.fnmatch_lines(["*test_a*'x'*", "*test_b*'y'*"])


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--memory-interval=1ms"], "*--memory-interval*10 ms*"),
        (["--memory-fail-on=sometimes"], "*--memory-fail-on*one of*"),
        (["--memory-max-heap-growth=lots"], "*--memory-max-heap-growth*lots*"),
        (["--memory-config=missing.json"], "*missing.json*"),
        (["--memory-inspector=foo"], "*--memory-inspector is 'foo'*HOST:PORT*"),
    ],
)
def test_a_wrong_option_is_a_usage_error(bare_project, args: list[str], words: str) -> None:
    result = bare_project.run(*args)
    assert result.ret == USAGE_ERROR
    result.stderr.fnmatch_lines([words])


def test_a_wrong_ini_value_names_its_key(bare_project) -> None:
    bare_project.ini("memory_interval = never")
    bare_project.run().stderr.fnmatch_lines(["*memory_interval*never*"])


TOML = 'memory_interval = "never"\n'


@pytest.mark.parametrize(
    ("file", "text", "oldest"),
    [
        ("pyproject.toml", f"[tool.pytest.ini_options]\n{TOML}", 8),
        ("pyproject.toml", f"[tool.pytest]\n{TOML}", 9),
        ("pytest.toml", f"[pytest]\n{TOML}", 9),
        ("setup.cfg", "[tool:pytest]\nmemory_interval = never\n", 8),
        ("tox.ini", "[pytest]\nmemory_interval = never\n", 8),
    ],
    ids=["ini_options", "tool.pytest", "pytest.toml", "setup.cfg", "tox.ini"],
)
def test_settings_come_from_wherever_pytest_keeps_its_own(bare_project, file: str, text: str, oldest: int) -> None:
    """The command line reads the same files by itself: tests/unit/test_config_file.py."""
    if int(pytest.__version__.partition(".")[0]) < oldest:
        pytest.skip(f"pytest {pytest.__version__} does not read this; {oldest} does")
    (bare_project.path / file).write_text(text)
    result = bare_project.run()
    assert result.ret == USAGE_ERROR
    result.stderr.fnmatch_lines(["*memory_interval*never*"])


def test_a_number_in_native_toml_is_refused_by_pytest_with_the_key(bare_project) -> None:
    """In [tool.pytest] values have types, and ours are texts: a duration has a unit."""
    if int(pytest.__version__.partition(".")[0]) < 9:
        pytest.skip(f"pytest {pytest.__version__} has no native TOML; 9 has")
    (bare_project.path / "pyproject.toml").write_text("[tool.pytest]\nmemory_interval = 5\n")
    result = bare_project.run()
    assert result.ret != 0
    (result.stderr if result.stderr.lines else result.stdout).fnmatch_lines(["*memory_interval*string*int*"])


def test_a_config_file_is_found_and_a_typo_in_it_is_an_error(bare_project) -> None:
    (bare_project.path / "memory-config.json").write_text('{"monitor": {"intervall": 5}}')
    result = bare_project.run()
    assert result.ret == USAGE_ERROR
    result.stderr.fnmatch_lines(["*monitor.intervall*", "*did you mean 'monitor.interval'*"])


def test_a_test_without_an_app_is_an_error_that_says_how_to_name_one(bare_project) -> None:
    bare_project.test("def test_it(memory_monitor): pass")
    result = bare_project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no app to test*", "*@pytest.mark.node_app*"])


def test_an_app_that_cannot_be_started_is_said_once(project) -> None:
    project.test("import pytest\n@pytest.mark.node_app('nope.js')\ndef test_it(memory_monitor): pass\n")
    output = project.run().stdout
    output.fnmatch_lines(["ConfigError[[]config-app[]]*'nope.js'*"])
    # pytest's own list at the end repeats it, whole where CI is set and cut off where not.
    told = output.str().partition("short test summary info")[0]
    assert told.count("the app's script is 'nope.js'") == 1
    assert "During handling" not in told


def test_a_file_that_was_asked_for_is_of_this_run_also_where_nothing_was_measured(bare_project) -> None:
    bare_project.test("def test_it(): pass")
    (bare_project.path / "results.json").write_text("of yesterday")
    (bare_project.path / "report.html").write_text("of yesterday")
    arguments = ("--memory-json=results.json", "--memory-report=report.html")
    bare_project.run("--collect-only", *arguments)
    assert (bare_project.path / "results.json").read_text() == "of yesterday"
    bare_project.run(*arguments).assert_outcomes(passed=1)
    assert bare_project.document()["results"] == []
    assert "No test was measured" in (bare_project.path / "report.html").read_text()


def test_disabled_tests_are_skipped_saying_so(bare_project) -> None:
    bare_project.test(
        "import pytest\n"
        "@pytest.mark.max_heap_growth('1MB')\ndef test_it(): raise AssertionError\n"
        "def test_other(): pass\n"
    )
    result = bare_project.run("--memory-disable", "-rs")
    result.assert_outcomes(skipped=1, passed=1)
    result.stdout.fnmatch_lines(["*--memory-disable*"])


def test_a_project_without_memory_tests_sees_nothing_of_us(bare_project) -> None:
    bare_project.test("def test_it(): pass", name="test_plain")
    output = bare_project.run("-v").stdout.str().partition("collected 1 item")[2]
    assert "passed" in output
    assert "memory" not in output
