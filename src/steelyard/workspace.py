"""Where a project keeps its state, and the ledger of finished work.

Belongs here: folders, atomic files, the lock, and records of finished stages by fingerprint. Not here: what a stage
does, or what enters its fingerprint.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.errors import BusyError


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folder that holds everything a project has produced; removing it forgets the project."""

    root: Path

    @property
    def warehouse(self) -> Path:
        """DuckDB file that dlt loads into."""
        return self.root / "warehouse.duckdb"

    @property
    def index(self) -> Path:
        """LanceDB's folder."""
        return self.root / "index"

    @property
    def weaviate(self) -> Path:
        """Folder of the embedded Weaviate server."""
        return self.root / "weaviate"

    @property
    def answers(self) -> Path:
        """SQLite file of generated answers."""
        return self.root / "answers.sqlite"

    def kept_answers(self, fingerprint: str) -> Path:
        """File of one evaluation's answers, prompts and passages."""
        return self.root / "evaluations" / f"{fingerprint}.json"

    @property
    def reports(self) -> Path:
        """Reports of runs, one folder per fingerprint."""
        return self.root / "reports"

    @property
    def adapters(self) -> Path:
        """Training runs, one folder per fingerprint."""
        return self.root / "adapters"

    @property
    def contexts(self) -> Path:
        """What was retrieved for the training pairs, one file per fingerprint."""
        return self.root / "contexts"

    @property
    def data_docs(self) -> Path:
        """Great Expectations' Data Docs."""
        return self.root / "data-docs"

    @property
    def bundles(self) -> Path:
        """What was promoted, one folder per fingerprint."""
        return self.root / "bundles"

    @property
    def mlflow_database(self) -> Path:
        """SQLite file of the default tracking store."""
        return self.root / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        """Artifacts of the default tracking store."""
        return self.root / "mlflow-artifacts"

    @property
    def ledger(self) -> Ledger:
        """Records of finished work."""
        return Ledger(self.root / "ledger")

    @property
    def audit(self) -> Path:
        """The record of promotions and roll-backs."""
        return self.root / "audit.jsonl"

    @contextmanager
    def locked(self, *, is_waiting: bool = False) -> Iterator[None]:
        """Hold the workspace; a killed process holds nothing.

        A second process waits for its turn, or is turned away with `BusyError`.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if is_waiting else fcntl.LOCK_NB))
            except BlockingIOError:
                raise BusyError(
                    f"another run is at work in {self.root}", remedy="wait for it to end, or stop it; then run again"
                ) from None
            yield

    @contextmanager
    def moving_champion(self) -> Iterator[None]:
        """Hold the right to propose, promote and roll back; taken for moments, so a second process waits."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "promotion.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@dataclass(frozen=True, slots=True)
class Ledger:
    """Finished work by stage and fingerprint: what is recorded here is not done again."""

    root: Path

    def find(self, stage: str, fingerprint: str) -> dict[str, Any] | None:
        """Return the record of finished work, or None when it has yet to be done."""
        try:
            text = (self.root / stage / f"{fingerprint}.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        record: dict[str, Any] = json.loads(text)
        return record

    def record(self, stage: str, fingerprint: str, record: dict[str, Any]) -> None:
        """Write the record of finished work; a reader sees all of it or nothing."""
        write_atomically(self.root / stage / f"{fingerprint}.json", json.dumps(record, ensure_ascii=False, indent=1))


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that after a crash either the old or the new content is there, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
