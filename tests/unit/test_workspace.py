"""The ledger and the lock."""

from __future__ import annotations

import pytest

from steelyard.errors import ServiceError
from steelyard.fingerprint import digest, digest_lines
from steelyard.workspace import Workspace, write_atomically


def test_ledger_record_is_found_under_its_fingerprint_only(tmp_path):
    """What was not recorded is not found."""
    ledger = Workspace(tmp_path).ledger
    assert ledger.find("index", "abc") is None
    ledger.record("index", "abc", {"digest": "d"})
    assert ledger.find("index", "abc") == {"digest": "d"}
    assert ledger.find("tune", "abc") is None


def test_write_atomically_failure_leaves_the_old_text(tmp_path):
    """A write that fails changes nothing and leaves no scraps."""
    path = tmp_path / "a.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


def test_workspace_second_holder_is_turned_away(tmp_path):
    """Two runs never work in one workspace at a time."""
    workspace = Workspace(tmp_path)
    with workspace.locked(), pytest.raises(ServiceError, match="another run"), Workspace(tmp_path).locked():
        pass
    with workspace.locked():
        pass


def test_digest_refuses_what_is_not_plain():
    """Nothing enters an identity by accident."""
    with pytest.raises(TypeError, match="cannot hold"):
        digest({"path": object()})
    assert digest({"b": 1, "a": (1, 2)}) == digest({"a": [1, 2], "b": 1})
    assert digest_lines(["ab", "c"]) != digest_lines(["a", "bc"])
