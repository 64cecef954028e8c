"""A bundle as an MLflow model folder: models from code, no pickle, no path of this machine.

Belongs here: what lies in the folder and how it is described. Not here: where the folder goes (see `registry`).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from steelyard.errors import DataError
from steelyard.promote.bundle import Bundle, bundle_to_json

BUNDLE_ARTIFACT = "bundle"
ADAPTER_ARTIFACT = "adapter"
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")  # a training folder holds pickles beside them


def write_model_folder(
    folder: Path,
    bundle: Bundle,
    *,
    model_code: Path,
    adapter_folder: Path | None,
    input_example: str,
    model_id: str,
    run_id: str,
) -> None:
    """Write the MLflow model that answers with `bundle` to `folder`, which must not exist yet.

    `model_code` is the Python file that MLflow runs to get the model. Raises `DataError` when the adapter is missing
    or holds no safetensors.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    with TemporaryDirectory() as place:
        staging = Path(place)
        artifacts = {BUNDLE_ARTIFACT: str(_write_bundle(staging, bundle))}
        if bundle.has_adapter:
            artifacts[ADAPTER_ARTIFACT] = str(_copy_adapter(staging, bundle, adapter_folder))
        description = Model(model_uuid=model_id, model_id=model_id, run_id=run_id)
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(model_code),
            artifacts=artifacts,
            model_config={"cache": None, "index_settings": None},  # what another machine may have elsewhere
            signature=_signature(),
            input_example=[input_example],
            pip_requirements=[f"steelyard=={bundle.steelyard_version}"],
            mlflow_model=description,
            metadata={"arm": bundle.arm, "precision": bundle.base_model.dtype},
            uv_project_path=str(staging),  # no lock file lies there: the folder we run in is no part of the model
        )
    _forget_paths(description, folder)


def _write_bundle(staging: Path, bundle: Bundle) -> Path:
    path = staging / "bundle.json"
    path.write_text(bundle_to_json(bundle), encoding="utf-8")
    return path


def _copy_adapter(staging: Path, bundle: Bundle, adapter_folder: Path | None) -> Path:
    missing = [n for n in _ADAPTER_FILES if adapter_folder is None or not (adapter_folder / n).is_file()]
    if adapter_folder is None or missing:
        raise DataError(
            f"arm {bundle.arm} of {bundle.name}: the adapter folder ({adapter_folder}) holds no {', '.join(missing)}",
            remedy="run the tuning stage again",
        )
    target = staging / "adapter"
    target.mkdir()
    for name in _ADAPTER_FILES:
        shutil.copyfile(adapter_folder / name, target / name)
    return target


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array, Object, Property

    citation = Object([Property(name, DataType.string) for name in ("id", "title", "uri", "text")])
    return ModelSignature(
        # Unnamed, so that a list of questions, records and a one-column table all fit.
        inputs=Schema([ColSpec(DataType.string)]),
        outputs=Schema(
            [
                ColSpec(DataType.string, "answer"),
                ColSpec(Array(citation), "citations"),
                ColSpec(DataType.string, "arm"),
                ColSpec(DataType.long, "snapshot", required=False),
                ColSpec(Array(DataType.string), "retrieved"),
            ]
        ),
    )


def _forget_paths(description: Any, folder: Path) -> None:
    flavor = description.flavors["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    description.save(str(folder / "MLmodel"))
