"""The golden-pair gate: a teacher is checked before it is asked for a label."""

from distill.golden.gate import check_teacher
from distill.golden.report import GoldenCheck, GoldenReport
from distill.golden.settings import GoldenBounds

__all__ = ["GoldenBounds", "GoldenCheck", "GoldenReport", "check_teacher"]
