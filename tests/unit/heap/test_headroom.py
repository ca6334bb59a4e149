"""Head-room: what is left for a snapshot, from the files of /proc and of control groups."""

from __future__ import annotations

from pathlib import Path

from pytest_memory.heap import headroom

MACHINE = 8_000_000 * 1024


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def read(tmp_path: Path, groups: str, files: dict[str, str]) -> headroom.MemoryRoom:
    write(tmp_path / "proc", {"meminfo": "MemTotal: 9 kB\nMemAvailable: 8000000 kB\n", "7/cgroup": groups})
    write(tmp_path / "cgroup", {"cgroup.controllers": "", **files})
    return headroom.read_memory_room(7, proc=tmp_path / "proc", cgroups=tmp_path / "cgroup")


def test_without_limits_the_machine_is_the_bound(tmp_path: Path) -> None:
    room = read(tmp_path, "0::/a\n", {"a/memory.max": "max\n", "a/memory.current": "5\n"})
    assert room == headroom.MemoryRoom(MACHINE, "the machine")


def test_version_2_limit_less_usage_plus_cache_that_can_be_dropped(tmp_path: Path) -> None:
    files = {
        "a/b/memory.max": "500000000",
        "a/b/memory.current": "400000000",
        "a/b/memory.stat": "anon 1\ninactive_file 50000000\n",
    }
    room = read(tmp_path, "0::/a/b\n", files)
    assert room.available_bytes == 150_000_000
    assert room.bound_by == "the container's limit of 500 MB"


def test_the_tightest_of_nested_groups_bounds(tmp_path: Path) -> None:
    files = {
        "a/memory.max": "300000000",
        "a/memory.current": "290000000",
        "a/b/memory.max": "500000000",
        "a/b/memory.current": "100000000",
    }
    assert read(tmp_path, "0::/a/b\n", files).available_bytes == 10_000_000


def test_version_1_limits(tmp_path: Path) -> None:
    files = {
        "memory/docker/x/memory.limit_in_bytes": "200000000",
        "memory/docker/x/memory.usage_in_bytes": "150000000",
        "memory/docker/x/memory.stat": "total_inactive_file 1000\n",
        "memory/memory.limit_in_bytes": str(2**63 - 4096),
        "memory/memory.usage_in_bytes": "150000000",
    }
    assert read(tmp_path, "5:cpu,memory:/docker/x\n0::/\n", files).available_bytes == 50_001_000


def test_a_container_that_sees_the_hosts_path_uses_its_own_root(tmp_path: Path) -> None:
    files = {"memory/memory.limit_in_bytes": "64000000", "memory/memory.usage_in_bytes": "60000000"}
    assert read(tmp_path, "3:memory:/docker/not-here\n", files).available_bytes == 4_000_000


def test_a_path_out_of_the_namespace_is_not_followed(tmp_path: Path) -> None:
    files = {"memory.max": "64000000", "memory.current": "60000000"}
    assert read(tmp_path, "0::/../../elsewhere\n", files).available_bytes == 4_000_000


def test_usage_above_the_limit_leaves_nothing(tmp_path: Path) -> None:
    files = {"memory.max": "10", "memory.current": "20"}
    assert read(tmp_path, "0::/\n", files).available_bytes == 0


def test_garbage_in_the_files_is_no_limit(tmp_path: Path) -> None:
    files = {"memory.max": "soon", "memory.current": "", "memory.stat": "inactive_file many"}
    assert read(tmp_path, "nonsense\n0::/\n::\n", files).available_bytes == MACHINE


def test_a_process_that_is_gone_is_bound_by_the_machine(tmp_path: Path) -> None:
    assert headroom.read_memory_room(2**22 + 5, cgroups=tmp_path).bound_by == "the machine"


def test_needs_are_in_heaps() -> None:
    assert headroom.needed_memory_bytes(100) == 1000
    assert headroom.expected_file_bytes(100_000_000) == 200_000_000
    assert headroom.expected_file_bytes(1) == headroom.SNAPSHOT_FILE_FLOOR_BYTES
