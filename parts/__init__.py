"""What the models are made of: one file per axis of variation."""
