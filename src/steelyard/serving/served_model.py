"""The file that MLflow runs to get the model; a copy of it lies in every registered version.

Belongs here: how questions come in through MLflow and answers go out. Not here: answering (see
`steelyard.promote.responder`). Nothing imports this file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model

_COLUMN = "question"


class ServedArm(mlflow.pyfunc.PythonModel):
    """Answers questions with citations: records with answer, citations, arm, snapshot and retrieved."""

    def load_context(self, context: Any) -> None:
        """Open the bundle; `model_config` may name another model cache and other index settings."""
        from steelyard.promote.bundle import bundle_from_json
        from steelyard.serving.opening import open_bundle

        settings = context.model_config or {}
        cache, adapter = settings.get("cache"), context.artifacts.get("adapter")
        self._responder = open_bundle(
            bundle_from_json(Path(context.artifacts["bundle"]).read_text(encoding="utf-8")),
            adapter_folder=None if adapter is None else Path(adapter),
            cache=None if cache is None else Path(cache),
            index_settings=settings.get("index_settings"),
        )

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[Any]:
        """Answer a list of texts, records with a question, or a table with a question column."""
        with _as_mlflow_errors():
            return [reply.plain() for reply in self._responder.answer(_questions_of(model_input))]


def _questions_of(table: Any) -> list[Any]:
    """Return the questions of a table, or of whatever a caller passes past MLflow's checks."""
    from steelyard.errors import DataError

    if not isinstance(table, pd.DataFrame):
        return table  # type: ignore[no-any-return]  # checked, whatever it is, by the responder
    columns: list[Any] = list(table.columns)
    if _COLUMN not in columns and columns != [0]:  # a list of texts comes as a table with one column called 0
        raise DataError(
            f"the table's first column is {columns[0]!r}, expected {_COLUMN!r}",
            remedy=f'pass that column alone: table[["{_COLUMN}"]]',
        )
    values = table[_COLUMN if _COLUMN in columns else 0]
    return [None if pd.isna(value) else value for value in values.tolist()]


@contextmanager
def _as_mlflow_errors() -> Iterator[None]:
    """Turn our errors into MLflow's, whose scoring server shows the message: 400 for the data, 503 for the rest."""
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE

    from steelyard.errors import DataError, SteelyardError

    try:
        yield
    except SteelyardError as error:
        code = INVALID_PARAMETER_VALUE if isinstance(error, DataError) else TEMPORARILY_UNAVAILABLE
        raise MlflowException(str(error), error_code=code) from error


set_model(ServedArm())
