"""The warehouse's tables: names, columns, and the contract they are loaded under.

Belongs here: declarations in dlt's vocabulary, without dlt. Not here: loading and reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PIPELINE = "steelyard"  # of dlt: names the folder of its state and its schema; the same for every project
DATASET = "corpus"  # of dlt: the database schema that holds the tables

Columns = Mapping[str, Mapping[str, Any]]


def _columns(*, optional: tuple[str, ...] = (), **types: str) -> Columns:
    return {name: {"data_type": type_, "nullable": name in optional} for name, type_ in types.items()}


DOCUMENTS = _columns(id="text", source="text", uri="text", title="text", text="text", content_hash="text")
PAIRS = _columns(ordinal="bigint", id="text", input="text", output="text", kind="text", documents="json")
CASES = _columns(
    optional=("forbidden",),
    ordinal="bigint",
    id="text",
    question="text",
    kind="text",
    expected="text",
    documents="json",
    cluster="text",
    forbidden="text",
)
SNAPSHOTS = _columns(
    sequence="bigint",
    date="text",
    is_dated="bool",
    boundary="timestamp",
    state_digest="text",
    digest="text",
    documents="bigint",
)
# `origin` says which reading refused the row ("documents@3": of snapshot 3), so that doing it again replaces its rows.
REFUSALS = _columns(origin="text", table_name="text", location="text", reason="text", payload="text", critical="bool")
# One row, there only while everything below it is loaded: what was read last, to see that nothing has changed.
INGESTS = _columns(
    source_digest="text",
    state_digest="text",
    rules_digest="text",
    warehouse_digest="text",
    pairs="bigint",
    cases="bigint",
    refused="bigint",
)

# A table may be made; then its columns and their types are fixed, and a row that does not fit stops the load.
CONTRACT = {"tables": "evolve", "columns": "freeze", "data_type": "freeze"}
VALIDITY = ["valid_from", "valid_to"]
