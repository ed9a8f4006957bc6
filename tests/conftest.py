"""Settings for every test."""

import os

from hypothesis import settings

# No deadline: a shared machine's first call can take a second. In CI the same examples every time.
settings.register_profile("local", deadline=None, max_examples=60)
settings.register_profile("ci", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")
