"""Random searches run twice: with a seed that never changes, and with one that is drawn for each run and printed."""

import os
import random

FIXED_SEED = 1
DRAWN_SEED = int(os.environ.get("KPROXY_SEED") or random.SystemRandom().randrange(1_000_000_000))
