"""What training tells its user and loggers: metrics, curves, progress."""
