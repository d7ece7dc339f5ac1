"""The parts of the model and of the scripts, one file per axis of variation.

Import this package before torch: it makes torch's threads sleep while they wait. Spinning threads
make a step on two threads ten times as long when another process needs a core.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
