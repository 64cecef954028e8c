"""Keys and passwords in texts that are about to be learnt by heart.

Belongs here: what kinds of secrets a text holds (detect-secrets knows what they look like). Not here: what follows.
The detectors are called one by one: the library's own scan would ask the services whether a key is alive.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

# They look for words and for randomness, and call every checksum and every sentence about passwords a secret.
_UNSURE = frozenset({"high_entropy_strings", "keyword", "ip_public", "base"})


def secret_kinds(text: str) -> tuple[str, ...]:
    """Return the kinds of secrets that a text seems to hold, sorted; never the secrets."""
    return tuple(sorted({str(detector.secret_type) for detector in _detectors() if any(detector.analyze_string(text))}))


@cache
def _detectors() -> tuple[Any, ...]:
    from detect_secrets import plugins
    from detect_secrets.plugins.base import RegexBasedDetector

    modules = [
        importlib.import_module(f"detect_secrets.plugins.{module.name}")
        for module in pkgutil.iter_modules(plugins.__path__)
        if module.name not in _UNSURE
    ]
    classes = {
        item
        for module in modules
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, RegexBasedDetector) and item.__module__ == module.__name__
    }
    return tuple(made() for made in sorted(classes, key=lambda item: item.__name__))
