"""Cache entries are complete or not there."""

from __future__ import annotations

import errno
import shutil
import signal
import subprocess
import sys
import threading
from collections import namedtuple

import pytest

from steelyard.errors import ServiceError
from steelyard.models.cache import build_entry, require_space
from steelyard.progress import Silent


def visible(cache):
    """Return everything in the cache but the lock files."""
    return sorted(path.name for path in cache.iterdir() if path.name != ".locks")


def fill(folder):
    """Build an entry."""
    (folder / "weights").write_text("all of them")


def test_build_entry_second_call_builds_nothing(tmp_path):
    """An entry that is there is used as it is."""
    first = build_entry(tmp_path, "model", fill, progress=Silent())
    second = build_entry(tmp_path, "model", lambda _: pytest.fail("built again"), progress=Silent())
    assert first == second
    assert (second / "weights").read_text() == "all of them"


def test_build_entry_failure_leaves_nothing_behind(tmp_path):
    """A build that breaks half-way leaves no entry and no scraps, and the next attempt succeeds."""

    def breaks(folder):
        (folder / "weights").write_text("half")
        raise ServiceError("the index went away")

    with pytest.raises(ServiceError, match="went away"):
        build_entry(tmp_path, "model", breaks, progress=Silent())
    assert visible(tmp_path) == []
    build_entry(tmp_path, "model", fill, progress=Silent())
    assert visible(tmp_path) == ["model"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_build_entry_full_disk_is_explained_and_leaves_nothing(tmp_path, number):
    """The system's word for a full disk becomes an error with a remedy."""

    def fills_up(folder):
        (folder / "weights").write_text("half")
        raise OSError(number, "no room")

    with pytest.raises(ServiceError, match="full") as caught:
        build_entry(tmp_path, "model", fills_up, progress=Silent())
    assert "free some space" in str(caught.value)
    assert visible(tmp_path) == []


def test_build_entry_unwritable_cache_is_explained(tmp_path):
    """A cache that cannot be written names the folder; a file in its place stands for a read-only disk."""

    def refused(folder):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    with pytest.raises(ServiceError, match="cannot be written"):
        build_entry(tmp_path, "model", refused, progress=Silent())


def test_build_entry_two_at_once_build_it_once(tmp_path):
    """Whoever comes second waits, says so, and uses what the first made."""
    is_building, may_finish, notes, built = threading.Event(), threading.Event(), [], []

    class Notes(Silent):
        def note(self, message):
            notes.append(message)
            may_finish.set()

    def slow(folder):
        built.append(folder)
        is_building.set()
        assert may_finish.wait(30)
        fill(folder)

    first = threading.Thread(target=build_entry, args=(tmp_path, "model", slow), kwargs={"progress": Silent()})
    first.start()
    assert is_building.wait(30)
    entry = build_entry(tmp_path, "model", slow, progress=Notes())
    first.join(30)
    assert (entry / "weights").read_text() == "all of them"
    assert len(built) == 1
    assert "waiting for another process" in notes[0]


def test_build_entry_after_a_killed_attempt_removes_its_scraps(tmp_path):
    """A build killed with -9 leaves no entry; the next call makes it and clears up."""
    code = (
        "import sys; from pathlib import Path; from steelyard.models.cache import build_entry\n"
        "from steelyard.progress import Silent\n"
        "def half(folder):\n"
        "    (folder / 'weights').write_text('half'); print('half', flush=True); sys.stdin.read()\n"
        "build_entry(Path(sys.argv[1]), 'model', half, progress=Silent())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "half\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert not (tmp_path / "model").exists()
    assert len(visible(tmp_path)) == 1
    build_entry(tmp_path, "model", fill, progress=Silent())
    assert visible(tmp_path) == ["model"]
    assert (tmp_path / "model" / "weights").read_text() == "all of them"


def test_require_space_too_little_names_both_sizes(tmp_path, monkeypatch):
    """The error says what is needed and what is there."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 5_000_000, 5_000_000))
    with pytest.raises(ServiceError, match="needs 100 MB, 5 MB are free"):
        require_space(tmp_path, 100_000_000, purpose="fetching it")
    require_space(tmp_path, 5_000_000, purpose="fetching it")
