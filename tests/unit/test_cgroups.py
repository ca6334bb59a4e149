"""What a container lets a process have, read from the files of both versions of control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_memory.cgroups import groups_of, has_cpu_quota, usable_cpus


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, False),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, True),
        ("0::/\n", {}, False),
        ("0::/a/b\n", {"a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000"}, True),
        ("0::/a/b\n", {"a/cpu.max": "max 100000", "a/b/cpu.max": "max 100000"}, False),
        ("4:cpu,cpuacct:/docker/x\n0::/\n", {"cpu/docker/x/cpu.cfs_quota_us": "-1\n"}, False),
        ("4:cpu,cpuacct:/docker/x\n0::/\n", {"cpu/docker/x/cpu.cfs_quota_us": "200000\n"}, True),
        ("4:cpuset:/docker/x\n", {"cpu/docker/x/cpu.cfs_quota_us": "200000\n"}, False),
        ("0::/../x\n", {"cpu.max": "1000 100000"}, True),
        ("0::/\n", {"cpu.max": ""}, False),
        ("nonsense\n", {"cpu.max": "1000 100000"}, False),
    ],
)
def test_a_quota_of_cpu_time_is_found(tmp_path: Path, groups: str, files: dict[str, str], expected: bool) -> None:
    write(tmp_path / "proc", {"7/cgroup": groups})
    write(tmp_path / "cgroup", {"cgroup.controllers": "", **files})
    assert has_cpu_quota(7, proc=tmp_path / "proc", cgroups=tmp_path / "cgroup") is expected


def test_without_control_groups_there_are_no_limits(tmp_path: Path) -> None:
    assert list(groups_of(7, "cpu", proc=tmp_path, cgroups=tmp_path)) == []
    assert not has_cpu_quota(7, proc=tmp_path, cgroups=tmp_path)


def test_groups_come_innermost_first(tmp_path: Path) -> None:
    write(tmp_path / "proc", {"7/cgroup": "0::/a/b\n"})
    (tmp_path / "cgroup" / "a" / "b").mkdir(parents=True)
    found = groups_of(7, "memory", proc=tmp_path / "proc", cgroups=tmp_path / "cgroup")
    assert [str(group.relative_to(tmp_path)) for group in found] == ["cgroup/a/b", "cgroup/a", "cgroup"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system keeps processes to no CPUs")
def test_a_cpu_that_a_process_may_not_use_does_not_count() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:1])
    try:
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert usable_cpus() == len(allowed)
