"""The tail of the output: bounded, cleaned, watched."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_memory.node.output import AppOutput

NOISE = [
    b"Debugger listening on ws://127.0.0.1:42435/33ca8040-9d74-4ce2-b120-562efe952fea\n",
    b"For help, see: https://nodejs.org/en/docs/inspector\n",
    b"For help, see: https://nodejs.org/en/learn/getting-started/debugging\n",
    b"Debugger attached.\n",
    b"Waiting for the debugger to disconnect...\n",
    b"Debugger ending on ws://127.0.0.1:42435/33ca8040-9d74-4ce2-b120-562efe952fea\n",
]


def test_what_was_printed_is_kept() -> None:
    output = AppOutput()
    output.feed(b"one\ntw")
    output.feed(b"o\nthree")
    assert output.text == str(output) == "one\ntwo\nthree"
    assert output.lines == ["one", "two", "three"]
    assert output.bytes_seen == 13


def test_an_empty_output_is_empty_text() -> None:
    output = AppOutput()
    output.feed(b"")
    assert (output.text, output.lines, output.bytes_seen) == ("", [], 0)


def test_the_inspectors_lines_are_taken_out() -> None:
    output = AppOutput()
    for noise in NOISE:
        output.feed(noise)
        output.feed(b"mine\n")
    assert output.lines == ["mine"] * len(NOISE)


def test_lines_that_only_mention_the_debugger_stay() -> None:
    output = AppOutput()
    output.feed(b"[child] Debugger attached.\nDebugger attached. Or so\n")
    assert len(output.lines) == 2


def test_a_last_noise_line_without_its_end_is_taken_out() -> None:
    output = AppOutput()
    output.feed(b"mine\nDebugger attached.")
    assert output.text == "mine\n"


def test_bytes_that_are_no_text_do_not_disturb() -> None:
    output = AppOutput()
    output.feed(b"\xff\xfe ok")
    assert output.text.endswith(" ok")


@given(st.lists(st.binary(max_size=40), max_size=40), st.integers(1, 64))
def test_the_tail_is_bounded_and_ends_where_the_output_ends(chunks: list[bytes], limit: int) -> None:
    output = AppOutput(tail_bytes=limit)
    for chunk in chunks:
        output.feed(chunk)
    whole = b"".join(chunks)
    # Hypothesis tries the constants of the module, too: those lines are taken out.
    assume(not any(word in whole for word in (b"For help", b"Debugger", b"Waiting for")))
    assert output.bytes_seen == len(whole)
    kept = whole[-limit:] if len(whole) > limit else whole
    if len(kept) < len(whole):
        kept = kept[kept.find(b"\n") + 1 :]
    assert output.text == kept.decode("utf-8", "replace")


def test_a_truncated_tail_begins_with_a_whole_line() -> None:
    output = AppOutput(tail_bytes=10)
    output.feed(b"0123456789\n")
    output.feed(b"abc\ndef\n")
    assert output.lines == ["abc", "def"]


def test_a_watched_pattern_is_found_across_chunks_and_in_the_past() -> None:
    output = AppOutput()
    output.feed(b"starting\nlistening o")
    assert output.watch("start").is_set()
    found = output.watch(r"^listening on \d+$")
    assert not found.is_set()
    output.feed(b"n 3000")
    assert found.is_set()


def test_a_pattern_is_found_in_a_flood() -> None:
    output = AppOutput(tail_bytes=100)
    found = output.watch("needle")
    for _ in range(100):
        output.feed(b"x" * 1000)
    output.feed(b"nee")
    output.feed(b"dle" + b"y" * 10_000)
    assert found.is_set()


def test_a_pattern_is_not_found_in_the_inspectors_lines() -> None:
    output = AppOutput()
    for noise in NOISE:
        for start in range(0, len(noise), 7):  # as the pipe may cut them
            output.feed(noise[start : start + 7])
    found = output.watch("listening on|attached|nodejs")  # in the past
    for noise in NOISE:
        for start in range(0, len(noise), 7):
            output.feed(noise[start : start + 7])
    assert not found.is_set()
    output.feed(b"listening o")
    output.feed(b"n 3000")
    assert found.is_set()


def test_a_line_that_begins_like_the_inspectors_is_searched_once_it_is_another() -> None:
    output = AppOutput()
    found = output.watch("Debugger")
    output.feed(b"Debugger")
    assert not found.is_set()
    output.feed(b" attached. Or so")
    assert found.is_set()


def test_a_character_cut_in_two_is_found() -> None:
    output = AppOutput()
    found = output.watch("bereit für")
    output.feed("bereit für".encode()[:9])
    output.feed("bereit für".encode()[9:])
    assert found.is_set()
