"""How many threads: the affinity and every control group above us, whichever grants least."""

import os
import subprocess
import sys

import pytest

from allaprima.threads import available


def test_affinity_counts_and_not_the_machine():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no processor affinity")
    first = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{first}])\nfrom allaprima.threads import available\nprint(available())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("quota", "threads"), [("100000 100000", 1), ("50000 100000", 1), ("130000 100000", 2)]
)
def test_quota_of_a_group_above_us_counts_rounded_up(tmp_path, monkeypatch, quota, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "outer" / "cpu.max").write_text(quota + "\n")
    (tmp_path / "outer" / "inner" / "cpu.max").write_text("max 100000\n")
    own = tmp_path / "own"
    own.write_text("0::/outer/inner\n")
    assert available(tmp_path, own) == threads


def test_quota_of_version_1_groups_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    group = tmp_path / "cpu" / "job"
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text("300000\n")
    (group / "cpu.cfs_period_us").write_text("100000\n")
    own = tmp_path / "own"
    own.write_text("4:cpu,cpuacct:/job\n3:memory:/job\n")
    assert available(tmp_path, own) == 3


def test_without_control_groups_the_affinity_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    assert available(tmp_path / "none", tmp_path / "none") == 3
