"""Checkpoints of a run as they are written, found again and gone on from."""
