"""Fixtures of the load engine's live tests: one app and one generator a module, counting from zero in each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.load_target import LoadTarget

from pytest_memory.load import LoadGenerator


@pytest.fixture(scope="module")
def target(node: str) -> Iterator[LoadTarget]:
    app = LoadTarget(node)
    yield app
    app.stop()


@pytest.fixture(scope="module")
def generator(target: LoadTarget) -> Iterator[LoadGenerator]:
    with LoadGenerator(target.url, concurrency=4, timeout="5s") as generator:
        yield generator


@pytest.fixture
def load(target: LoadTarget, generator: LoadGenerator) -> LoadGenerator:
    """The generator all tests of a module share (its processes are kept)."""
    target.get("/reset")
    return generator
