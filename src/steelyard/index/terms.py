"""The words that a keyword search compares, the same for every store.

Belongs here: text to terms. Not here: scoring (see `bm25`).
"""

from __future__ import annotations

import re
import unicodedata

# Raised by one whenever the same text would give other terms; part of a collection's name.
TERMS_VERSION = 1

# A word, or words joined as in 22.1, end-of-life, Node.js, TCP/IP; a trailing + or # belongs to C++ and C#.
_COMPOUND = re.compile(r"\w+(?:[.\-/+:]\w+)*[+#]*")
_PART = re.compile(r"\w+")


def terms(text: str) -> list[str]:
    """Return the terms of a text in order, without case and accents.

    A compound gives itself and its parts: "22.1.0" is found by "22.1.0", and less strongly by "22".
    """
    found: list[str] = []
    for compound in _COMPOUND.findall(_folded(text)):
        found.append(compound)
        if not compound.isalnum():
            found.extend(part for part in _PART.findall(compound) if part != compound)
    return found


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character))
