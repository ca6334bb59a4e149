"""Tests as a team writes them: idle, load on three routes, a leak test with a generous limit of its own."""

from __future__ import annotations

import pytest


def test_idle(node_app, memory_monitor):
    node_app.client.get("/")


def test_orders(memory_monitor, load_generator):
    load_generator.run("/orders", requests=2000, concurrency=10)


def test_price_cache(memory_monitor, load_generator):
    load_generator.run("/price", requests=2000, concurrency=10)


def test_upload(memory_monitor, load_generator):
    load_generator.run("/upload", requests=500, concurrency=10)


@pytest.mark.no_leaks("2KB/request")
def test_orders_do_not_leak(memory_monitor, load_generator):
    memory_monitor.leak_test(lambda: load_generator.run("/orders", requests=250, concurrency=10))
