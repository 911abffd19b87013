"""What is closed where its ``with`` block ends."""

from __future__ import annotations

from typing import Self


class Closing:
    """Base of what has a :meth:`close`, called when a block ends, however it ends."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
