"""The fake teacher for tests; it lives in ``benchmarks``, where the fault table runs it too."""

from __future__ import annotations

from benchmarks.teacher_model import Fault, judged, log_odds
from benchmarks.teacher_server import Call, FakeTeacherServer

__all__ = ["Call", "FakeTeacherServer", "Fault", "judged", "log_odds"]
