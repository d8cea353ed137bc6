"""Settings for all tests: no time limits on single examples (machines are busy), the same examples on every run."""

from hypothesis import settings

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")
