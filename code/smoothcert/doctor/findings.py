"""What the doctor says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line: an error surely makes the run fail, a warning may mislead, a note informs."""

    level: Literal["error", "warning", "note"]
    text: str

    def __str__(self) -> str:
        return f"{self.level}: {self.text}"


Findings = Iterator[Finding]
