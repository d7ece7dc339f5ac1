"""What the model and the scripts are made of, one file per axis of variation.

Import this before torch: it tells torch's threads to sleep while they wait. They would else spin,
and a step on two threads then takes ten times as long wherever another process wants the core.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
