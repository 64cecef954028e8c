"""A run that is killed with SIGKILL and repeated ends like one that was not; this file is also the program killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from steelyard.index.embed import HashEmbedder
from steelyard.index.lance import LanceIndex
from steelyard.index.memory import MemoryIndex
from steelyard.index.sync import SplitSettings, SyncReport, sync_snapshot
from steelyard.records import Document

# The steps of two snapshots: 4 writes, a seal, then 2 writes, a close and a seal.
STEPS = 9


class DyingIndex(LanceIndex):
    """A LanceDB store whose process is killed around its n-th step: before it ends, or right after."""

    def __init__(self, folder: Path, *, dies_at: int, is_after: bool) -> None:
        super().__init__(folder, collection="Passages_k", dimensions=16)
        self._dies_at, self._is_after, self._step = dies_at, is_after, 0

    def write(self, passages, vectors) -> None:
        """Write, and perhaps die."""
        self._around(lambda: super(DyingIndex, self).write(passages, vectors))

    def close_passages(self, ids, snapshot) -> None:
        """Close, and perhaps die."""
        self._around(lambda: super(DyingIndex, self).close_passages(ids, snapshot))

    def seal(self, snapshot, digest) -> None:
        """Seal, and perhaps die."""
        self._around(lambda: super(DyingIndex, self).seal(snapshot, digest))

    def _around(self, step) -> None:
        self._step += 1
        if self._step == self._dies_at and not self._is_after:
            os.kill(os.getpid(), signal.SIGKILL)
        step()
        if self._step == self._dies_at:
            os.kill(os.getpid(), signal.SIGKILL)


def documents(snapshot: int) -> Iterator[Document]:
    """Return ten documents; in the second snapshot four have changed and one is gone."""
    for n in range(10 if snapshot == 1 else 9):
        version = 2 if snapshot == 2 and n < 4 else 1
        yield Document(f"d{n}", "pages", f"d{n}.md", f"Product {n}", f"Product {n} is at version {version}.", "")


def sync(index: LanceIndex | MemoryIndex) -> Mapping[int, SyncReport]:
    """Bring both snapshots in step."""
    split = SplitSettings(max_characters=200, min_characters=100, overlap=0)
    return {
        snapshot: sync_snapshot(
            index, HashEmbedder(16), documents(snapshot), snapshot=snapshot, split=split, batch_size=3
        )
        for snapshot in (1, 2)
    }


@pytest.mark.parametrize(("step", "is_after"), [(1, True), (3, False), (7, True), (9, False)])
def test_sync_killed_at_a_step_then_repeated_ends_as_if_undisturbed(tmp_path, step, is_after):
    """Killed around a write, a close or a seal: the rerun finishes, and digests, ids and results agree."""
    undisturbed = MemoryIndex(collection="Passages_k", dimensions=16)
    expected = sync(undisturbed)
    command = [sys.executable, __file__, str(tmp_path), str(step), str(int(is_after))]
    killed = subprocess.run(command, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL

    index = LanceIndex(tmp_path, collection="Passages_k", dimensions=16)
    reports = sync(index)

    for snapshot in (1, 2):
        assert reports[snapshot].digest == expected[snapshot].digest == index.digest(snapshot)
        assert index.ids_in(snapshot) == undisturbed.ids_in(snapshot)
    assert index.describe().passages == undisturbed.describe().passages
    assert sum(report.passages_embedded for report in reports.values()) < 14 or step == 1
    texts = ["Product 3 version", "version 2"]
    vectors = HashEmbedder(16).embed(texts)
    assert ranking(index, texts, vectors) == ranking(undisturbed, texts, vectors)


def ranking(index: LanceIndex | MemoryIndex, texts, vectors) -> list[list[str]]:
    """Return the ids that the questions find in the second snapshot."""
    found = index.search_many(texts, vectors, snapshot=2, top_k=5, alpha=0.5)
    return [[hit.passage.id for hit in hits] for hits in found]


if __name__ == "__main__":
    sync(DyingIndex(Path(sys.argv[1]), dies_at=int(sys.argv[2]), is_after=bool(int(sys.argv[3]))))
    sys.exit("the step at which to die never came")
