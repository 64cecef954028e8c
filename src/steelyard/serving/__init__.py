"""Serving: a bundle opened with its real parts, in this process or inside MLflow.

Belongs here: putting models, index, prompts and the responder together (`open_bundle`), and the file that MLflow
runs (`served_model`). Not here: what the parts do.
"""

from pathlib import Path

MODEL_CODE = Path(__file__).with_name("served_model.py")
