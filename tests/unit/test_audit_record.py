import datetime as dt
import json

import pytest

from steelyard import audit
from steelyard.audit import Happening

NOW = dt.datetime(2026, 8, 22, 12, 30, tzinfo=dt.UTC)


@pytest.fixture
def record(tmp_path):
    """Return the file of a record with three entries."""
    file = tmp_path / "audit.jsonl"
    for event, by in (("proposed", None), ("approved", "ada"), ("promoted", "ada")):
        audit.append(file, Happening(event, "m", "2", "1", "e", by, "tag" if by else "nobody"), now=NOW)
    return file


def test_append_entries_form_a_chain_that_holds(record):
    """Entries are numbered, dated in UTC, and each follows the one before it."""
    read = audit.read(record)
    assert read.faults == ()
    assert [entry.number for entry in read.entries] == [1, 2, 3]
    assert read.entries[1].at == "2026-08-22T12:30:00+00:00"
    assert read.entries[2].previous == read.entries[1].hash
    assert audit.read(record, anchor=read.anchor).faults == ()


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (lambda lines: [lines[0], lines[1].replace("ada", "eve"), lines[2]], "entry 2 was changed"),
        (lambda lines: [lines[0], lines[2]], "entries were taken out"),
        (lambda lines: [lines[1], lines[0], lines[2]], "line 1 holds entry 2"),
        (lambda lines: [*lines, lines[2]], "line 4 holds entry 3"),
        (lambda lines: ["{}", *lines[1:]], "line 1 is no entry"),
        (lambda lines: lines[:2], "its end was cut off"),
        (lambda lines: [], "its end was cut off"),
    ],
)
def test_read_tampered_record_names_what_was_done(record, tamper, told):
    """An edit, a removal, an insertion and a cut are each told."""
    anchor = audit.read(record).anchor
    record.write_text("".join(f"{line}\n" for line in tamper(record.read_text().splitlines())))
    assert any(told in fault for fault in audit.read(record, anchor=anchor).faults)


def test_read_record_written_anew_differs_from_its_anchor(record):
    """A whole chain of other entries is not the one that the registry knows."""
    anchor = audit.read(record).anchor
    record.unlink()
    for _ in range(3):
        audit.append(record, Happening("promoted", "m", "9"), now=NOW)
    assert audit.read(record).faults == ()
    assert "written anew" in audit.read(record, anchor=anchor).faults[0]


def test_append_after_a_torn_line_goes_on_from_the_last_whole_entry(record):
    """A writer that was killed leaves half a line: it is no entry, and the chain goes on without it."""
    with record.open("a") as file:
        file.write(json.dumps({"number": 4})[:7])
    assert len(audit.read(record).entries) == 3
    entry = audit.append(record, Happening("rolled back", "m", "1", "2"), now=NOW)
    assert entry.number == 4
    assert audit.read(record).faults == ()


def test_recorded_champion_follows_moves_of_its_own_model(record):
    """The newest move tells who is champion; another model's moves do not."""
    audit.append(record, Happening("promoted", "other", "7"), now=NOW)
    assert audit.recorded_champion(audit.read(record).entries, "m") == "2"
    audit.append(record, Happening("roll-back asked", "m", "1", "2"), now=NOW)
    entries = audit.read(record).entries
    assert audit.recorded_champion(entries, "m") == "2"
    assert audit.unfinished_roll_back(entries, "m") == entries[-1]
    audit.append(record, Happening("rolled back", "m", "1", "2"), now=NOW)
    assert audit.recorded_champion(audit.read(record).entries, "m") == "1"
    assert audit.unfinished_roll_back(audit.read(record).entries, "m") is None
