"""The JSON Schema of project files, for editors that complete and check YAML.

Belongs here: making and writing the schema. Not here: the models that it describes.
"""

from __future__ import annotations

import json
from typing import Any

from steelyard.config.models import Project


def project_schema() -> dict[str, Any]:
    """Return the JSON Schema of a project file."""
    schema = Project.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Steelyard project", **schema}


def project_schema_text() -> str:
    """Return the schema as it is committed in configs/steelyard.schema.json."""
    return json.dumps(project_schema(), indent=2, ensure_ascii=False) + "\n"
