from __future__ import annotations

import json

import pytest
from support import result_factory as factory

from pytest_memory.errors import StoreError
from pytest_memory.report import github


def test_the_step_summary(golden_text):
    golden_text("step_summary.md", github.step_summary(factory.document()))


def test_annotations(golden_text):
    golden_text("annotations.txt", "\n".join(github.annotation_lines(factory.every_kind())) + "\n")


def test_annotations_take_their_line_from_the_caller():
    result = factory.leaking()
    (line,) = github.annotation_lines([result], {result.test_id: ("tests/test_api.py", 12)})
    assert line.startswith("::error file=tests/test_api.py,line=12,title=memory%3A test_orders_do_not_leak::leak: ")
    assert "95 %25" in line


def test_annotations_count_from_the_top_of_the_checkout(tmp_path):
    inside = github.path_in_checkout(tmp_path / "services" / "shop", str(tmp_path))
    result = factory.leaking()
    (line,) = github.annotation_lines([result], {result.test_id: ("tests/test_api.py", 12)}, directory=inside)
    assert line.startswith("::error file=services/shop/tests/test_api.py,line=12,")
    for elsewhere in ("", str(tmp_path / "other")):
        assert str(github.path_in_checkout(tmp_path / "services", elsewhere)) == "."


def test_a_name_cannot_start_another_workflow_command():
    (line,) = github.annotation_lines([factory.over_limit("a,b:c.py::t[\n::error::x]")])
    assert "\n" not in line
    assert line.startswith("::error file=a%2Cb%3Ac.py,title=")


def test_annotations_are_the_ten_worst_and_leave_expected_failures_out():
    from dataclasses import replace

    results = [factory.over_limit(f"t.py::t{i}", count=2) for i in range(40)]
    assert len(github.annotation_lines(results)) == 10
    assert github.annotation_lines([replace(results[0], test_outcome="xfailed")]) == []
    assert github.annotation_lines([factory.healthy()]) == []


def test_markup_in_names_is_escaped():
    document = factory.document([factory.xss()])
    for text in (github.step_summary(document), github.pr_comment(document)):
        assert "<script" not in text
        assert "<img" not in text


def test_names_notify_nobody_and_break_no_table():
    text = github.step_summary(factory.document([factory.over_limit("t.py::t[@team|#12`x`]")]))
    assert "@team" not in text
    assert "#12" not in text
    assert "\\|" in text


def test_a_comment_is_bounded_whole_and_found_again():
    document = factory.document([factory.leaking(f"t.py::test_{i}" + "x" * 300, count=2) for i in range(500)])
    comment = github.pr_comment(document)
    assert comment.startswith(github.COMMENT_MARK)
    assert len(comment) < 65_536
    assert comment.count("<details>") == comment.count("</details>")
    assert len(github.step_summary(document).encode()) < 1024 * 1024


def test_benchmark_entries_are_what_the_action_reads():
    entries = json.loads(github.benchmark_json(factory.document()))
    assert all({"name", "unit", "value"} <= set(entry) for entry in entries)
    assert all(isinstance(entry["value"], (int, float)) for entry in entries)
    assert len({entry["name"] for entry in entries}) == len(entries)
    slope = next(entry for entry in entries if "do_not_leak V8 heap" in entry["name"])
    assert (slope["value"], slope["unit"], slope["range"]) == (1024.0, "B/request", "± 16")


def test_the_step_summary_is_appended(tmp_path):
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    github.append_step_summary(factory.document([factory.healthy(count=3)]), path)
    assert path.read_text(encoding="utf-8").startswith("before\n## Memory")
    with pytest.raises(StoreError):
        github.append_step_summary(factory.document(), tmp_path / "missing" / "summary.md")


def test_files_are_written_whole(tmp_path):
    document = factory.document([factory.healthy(count=3)])
    github.write_pr_comment(document, tmp_path / "comment.md")
    github.write_benchmark(document, tmp_path / "benchmark.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["benchmark.json", "comment.md"]


def test_a_name_that_is_no_utf8_is_written_all_the_same(tmp_path):
    document = factory.document([factory.over_limit("t.py::t[\udc80]")])
    github.append_step_summary(document, tmp_path / "summary.md")
    github.write_pr_comment(document, tmp_path / "comment.md")
    github.write_benchmark(document, tmp_path / "benchmark.json")
    assert all(file.read_text(encoding="utf-8") for file in tmp_path.iterdir())
