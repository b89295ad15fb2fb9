"""Losses, optimiser, the Lightning module, callbacks, several seeds."""
