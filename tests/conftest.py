"""Settings for all tests: no time limits on single examples (machines are busy), the same examples on every run."""

import signal

from hypothesis import settings

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

# Started as a background job, as CI may do, this process ignores Ctrl-C and would hand that on to all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
