"""Layouts found from answers alone: programs are tried, and those that answer are kept."""
