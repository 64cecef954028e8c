"""The audit record: who moved which version to where, when, and on which evidence.

Belongs here: entries, appending them, and checking that nobody changed them. Not here: what leads to an entry (see
`steelyard.review`).

One JSON object a line, each with the hash of the one before it: a changed, removed or inserted line breaks the chain.
Lines cut off at the end leave a whole chain; they show when the newest hash is kept elsewhere as well (the anchor).
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TextIO

from steelyard.fingerprint import canonical_json

Event = Literal[
    "proposed", "approved", "rejected", "refused", "promoted", "roll-back asked", "rolled back", "moved outside"
]
Voucher = Literal["account", "shell", "tag", "config", "nobody"]

VOUCHERS: dict[Voucher, str] = {
    "account": "signed in to the MLflow server as that user",
    "shell": "the shell's user name; nobody vouched for it",
    "tag": "the tag review.by says so; nobody vouched for it",
    "config": "the project file asks for no review",
    "nobody": "nobody vouched for who it was",
}
_START = "0" * 64  # what the first entry follows


@dataclass(frozen=True, slots=True)
class Entry:
    """One event. `version` is what it is about, `from_version` the champion before it, `hash` covers all the rest."""

    number: int
    at: str
    event: Event
    model: str
    version: str
    from_version: str | None
    evidence: str | None
    by: str | None
    vouched_by: Voucher
    reason: str
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class Happening:
    """An event that is not recorded yet; see `Entry` for the fields."""

    event: Event
    model: str
    version: str
    from_version: str | None = None
    evidence: str | None = None
    by: str | None = None
    vouched_by: Voucher = "nobody"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """The entries of a file that were read, the faults of the chain in words, and the file."""

    entries: tuple[Entry, ...]
    faults: tuple[str, ...]

    @property
    def anchor(self) -> str:
        """What to keep elsewhere: number and hash of the newest entry."""
        return f"{self.entries[-1].number}:{self.entries[-1].hash}" if self.entries else ""


def append(path: Path, happening: Happening, *, now: dt.datetime) -> Entry:
    """Append one entry, on disk when this returns, and return it.

    What a killed writer left of a line is no entry and is taken away. Safe among processes of one machine.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path) as file:
        text = file.read()
        whole = text[: text.rfind("\n") + 1]
        last: dict[str, Any] = json.loads(whole.splitlines()[-1]) if whole else {"number": 0, "hash": _START}
        entry = _sealed(
            Entry(
                number=int(last["number"]) + 1,
                at=now.astimezone(dt.UTC).isoformat(timespec="seconds"),
                previous=str(last["hash"]),
                hash="",
                **asdict(happening),
            )
        )
        file.seek(len(whole.encode("utf-8")))
        file.truncate()
        file.write(canonical_json(asdict(entry)) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return entry


def read(path: Path, *, anchor: str = "") -> AuditRecord:
    """Return all entries with everything that is wrong with their chain; `anchor` is what was kept elsewhere."""
    try:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")[:-1]
    except FileNotFoundError:
        lines = []
    entries, faults, previous = list[Entry](), list[str](), _START
    for number, line in enumerate(lines, start=1):
        entry = _parsed(line)
        if entry is None:
            faults.append(f"line {number} is no entry")
            continue
        faults += _faults(entry, number=number, previous=previous)
        entries.append(entry)
        previous = entry.hash
    return AuditRecord(tuple(entries), (*faults, *_anchor_faults(entries, anchor)))


def unfinished_roll_back(entries: Sequence[Entry], model: str) -> Entry | None:
    """Return the roll-back of a model that was asked for and not recorded as done, or None."""
    mine = [entry for entry in entries if entry.model == model and entry.event != "proposed"]
    return mine[-1] if mine and mine[-1].event == "roll-back asked" else None


def recorded_champion(entries: Sequence[Entry], model: str) -> str | None:
    """Return the version that the record says is champion, None where it tells of none."""
    moves = [e for e in entries if e.model == model and e.event in {"promoted", "rolled back", "moved outside"}]
    return moves[-1].version if moves else None


def proposed_evidence(entries: Sequence[Entry], model: str, version: str) -> str | None:
    """Return the digest of the evidence on which a version was proposed or promoted last, or None."""
    mine = [e for e in entries if (e.model, e.version) == (model, version) and e.event in {"proposed", "promoted"}]
    return mine[-1].evidence if mine else None


def _faults(entry: Entry, *, number: int, previous: str) -> Iterator[str]:
    if entry.number != number:
        yield f"line {number} holds entry {entry.number}: entries were taken out, put in or moved"
    if entry.previous != previous:
        yield f"entry {entry.number} does not follow the one before it"
    if entry.hash != _sealed(entry).hash:
        yield f"entry {entry.number} was changed after it was written"


def _anchor_faults(entries: Sequence[Entry], anchor: str) -> Iterator[str]:
    number, _, wanted = anchor.partition(":")
    if not anchor:
        return
    held = {str(entry.number): entry.hash for entry in entries}
    if number not in held:
        yield f"MLflow knows of {number} entries, the file holds {len(entries)}: its end was cut off"
    elif held[number] != wanted:
        yield f"entry {number} is not the one that MLflow knows of: the file was written anew"


def _sealed(entry: Entry) -> Entry:
    content = {name: value for name, value in asdict(entry).items() if name != "hash"}
    text = canonical_json(content).encode("utf-8", "surrogatepass")
    return replace(entry, hash=hashlib.sha256(text).hexdigest())


def _parsed(line: str) -> Entry | None:
    try:
        values = json.loads(line)
    except ValueError:
        return None
    names = {field.name for field in fields(Entry)}
    return Entry(**values) if isinstance(values, dict) and set(values) == names else None


@contextmanager
def _locked(path: Path) -> Iterator[TextIO]:
    with path.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file
