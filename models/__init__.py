"""Everything about a network: architecture, training, evaluation, explanation, registry, reports."""

import os

# Threads that wait for each other sleep instead of spinning. On a machine that also does something else, spinning
# makes a training step several times slower; the OpenMP runtime reads this once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
