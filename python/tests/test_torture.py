"""A short form of `make torture`."""

import pytest

import torture


def test_kills_and_full_disks_lose_nothing(tmp_path):
    if not torture.BINARY.exists():
        pytest.skip(f"{torture.BINARY} is not built: run `make build`")
    found = torture.torture(tmp_path, kills=6, seed=1)
    assert found.kills >= 6
    assert not found.faults
