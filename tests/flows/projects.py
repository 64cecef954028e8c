"""A project that a flow test runs in processes of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Project:
    """A copy of a project with a workspace of its own."""

    file: Path
    environment: dict[str, str]

    def command(self, *words: str, driver: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the program in a process of its own."""
        program = [sys.executable, str(driver)] if driver else [str(Path(sys.executable).with_name("steelyard"))]
        return subprocess.run(
            [*program, *words], env=self.environment, capture_output=True, text=True, timeout=500, check=False
        )

    def run(self, *words: str) -> dict[str, Any]:
        """Run the project and return its report."""
        done = self.command("run", str(self.file), "--json", *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
