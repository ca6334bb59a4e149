"""The id of a test, the same whoever runs it.  Floor 7.

Under ``--dist loadgroup`` pytest-xdist appends the group to a worker's node ids (``test.py::test@group``; newer
pytest hides it).  A baseline, a result and a kept snapshot belong to the test, however it was scheduled.
"""

from __future__ import annotations

import pytest


def id_of_test(item: pytest.Item) -> str:
    """The node id of ``item`` as it is without pytest-xdist."""
    if not getattr(item.config.option, "loadgroup", False):
        return item.nodeid
    groups = {_group_name(mark) for mark in item.iter_markers("xdist_group")}
    return without_groups(item.nodeid, groups) if groups else item.nodeid


def without_groups(node_id: str, groups: set[str]) -> str:
    """``node_id`` without the suffix that xdist makes of ``groups``, or as it is when it has none."""
    return node_id.removesuffix("@" + "_".join(sorted(groups)))


def _group_name(mark: pytest.Mark) -> str:
    return str(mark.args[0] if mark.args else mark.kwargs.get("name", "default"))
