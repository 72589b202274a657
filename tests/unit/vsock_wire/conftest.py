from __future__ import annotations

from hypothesis import settings

settings.register_profile("kmstool", max_examples=60, deadline=None)
settings.load_profile("kmstool")
