"""Random seeds derived from names, so that no stream depends on another's use."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit seed that depends on all ``parts`` and on nothing else.

    Streams with different parts are independent for every practical purpose: the parts are
    hashed (SHA-256), not added up.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
