"""Driving Great Expectations: one suite per table, built in code, and its Data Docs as static pages.

Belongs here: all that knows Great Expectations. Not here: what the rules say.

Data Docs show values as they are, without escaping, so that texts from documents never get there: frames hold
lengths, kinds and findings, and what comes from data in them is escaped.
"""

from __future__ import annotations

import html
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.validate.rules import Check

_SITE = "contract"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a check came out; `rows` are the numbers of the rows that break it."""

    success: bool
    rows: tuple[int, ...]
    observed: str


class Suites:
    """The suites of one validation; nothing of them outlives it but the pages."""

    def __init__(self) -> None:
        import great_expectations as gx
        from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

        config = DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            progress_bars={"globally": False},
        )
        self._context = gx.get_context(project_config=config, mode="ephemeral")
        self._source = self._context.data_sources.add_pandas("warehouse")

    def check(self, table: str, checks: Sequence[Check], rows: Sequence[Mapping[str, Any]]) -> dict[Check, Outcome]:
        """Run the checks of one table on its rows, in the order of the checks."""
        import great_expectations as gx
        import pandas as pd

        columns = sorted({str(check.column) for check in checks if check.column is not None} | {"row", "id"})
        frame = pd.DataFrame([{name: _escaped(row[name]) for name in columns} for row in rows], columns=columns)
        batch = self._source.add_dataframe_asset(table).add_batch_definition_whole_dataframe("all")
        suite = gx.ExpectationSuite(name=table, expectations=[_expectation(check) for check in checks])
        definition = gx.ValidationDefinition(name=table, data=batch, suite=self._context.suites.add(suite))
        results = self._context.validation_definitions.add(definition).run(
            batch_parameters={"dataframe": frame},
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["row"]},
        )
        by_rule = {result.expectation_config.meta["rule"]: result for result in results.results}
        return {check: _outcome(by_rule[check.rule], len(rows)) for check in checks}

    def write_docs(self, folder: Path) -> Path:
        """Write the Data Docs and return their first page; pages of earlier validations go."""
        fresh = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        self._context.add_data_docs_site(
            site_name=_SITE,
            site_config={
                "class_name": "SiteBuilder",
                "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(fresh)},
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            },
        )
        self._context.build_data_docs(site_names=[_SITE])
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
        return folder / "index.html"


def _escaped(value: Any) -> Any:
    return html.escape(value).replace("$", "&#36;") if isinstance(value, str) else value


def _expectation(check: Check) -> Any:
    import great_expectations.expectations as gxe

    shared = {"severity": check.severity, "meta": {"rule": check.rule}, "notes": f"{check.rule}. {check.remedy}"}
    if check.column is None:
        return gxe.ExpectTableRowCountToBeBetween(min_value=check.minimum, max_value=check.maximum, **shared)
    of_column = {"column": check.column, "mostly": check.mostly, **shared}
    if check.is_empty:
        return gxe.ExpectColumnValuesToBeNull(**of_column)
    if check.choices is not None:
        return gxe.ExpectColumnValuesToBeInSet(value_set=list(check.choices), **of_column)
    return gxe.ExpectColumnValuesToBeBetween(min_value=check.minimum, max_value=check.maximum, **of_column)


def _outcome(result: Any, count: int) -> Outcome:
    if result.exception_info and result.exception_info.get("raised_exception"):
        raise RuntimeError(f"Great Expectations could not run a check: {result.exception_info}")
    if "observed_value" in result.result:
        return Outcome(bool(result.success), (), f"{result.result['observed_value']:,} rows")
    rows = tuple(sorted(int(index["row"]) for index in result.result.get("unexpected_index_list") or ()))
    return Outcome(bool(result.success), rows, f"{len(rows):,} of {count:,} rows")
