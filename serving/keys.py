"""``python -m serving.keys``."""

from __future__ import annotations

from serving.access.cli import main

if __name__ == "__main__":
    main()
