"""The fake OpenAI server for tests; it lives in ``benchmarks``, where the fault table runs it too."""

from __future__ import annotations

from benchmarks.openai_server import BLOCK, MODEL, Call, FakeOpenAI, serve

__all__ = ["BLOCK", "MODEL", "Call", "FakeOpenAI", "serve"]
