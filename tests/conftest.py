"""What holds for every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Time is no property of the code here: a busy machine may be slow and right.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
