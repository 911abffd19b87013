"""Is a fake's answer of the same shape as the real one's?"""

from __future__ import annotations

from typing import Any


def missing(fake: Any, real: Any, where: str = "") -> list[str]:
    """Return the paths of the fake's answer that the real one lacks, or has as another type."""
    if isinstance(fake, dict):
        if not isinstance(real, dict):
            return [f"{where}: {type(real).__name__}"]
        lacking = [f"{where}.{name}" for name in fake if name not in real]
        shared = [name for name in fake if name in real]
        return lacking + [
            path for name in shared for path in missing(fake[name], real[name], f"{where}.{name}")
        ]
    if isinstance(fake, list):
        return missing(fake[0], real[0], f"{where}.0") if fake and real else []
    number = isinstance(fake, int | float) and isinstance(real, int | float)
    return [] if number or type(fake) is type(real) else [f"{where}: {type(fake)} is {type(real)}"]
