"""``pytest-memory compare BEFORE AFTER``: two result files, test by test.  Floor 7."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_memory import store
from pytest_memory.cli.comparison import show_comparisons
from pytest_memory.cli.front import Context


def run(arguments: argparse.Namespace, context: Context) -> int:
    from pytest_memory.compare import compare_documents

    before, after = (store.read_document(Path(name)) for name in (arguments.before, arguments.after))
    return show_comparisons(context, compare_documents(before, after))
