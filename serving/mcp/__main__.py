"""``python -m serving.mcp``."""

from __future__ import annotations

from serving.mcp.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
