"""Files: models, checkpoints, and how they are written without loss."""
