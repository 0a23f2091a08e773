"""Files that a run writes: models and checkpoints, written atomically."""
