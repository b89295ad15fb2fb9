"""Addresses of the demo: pages, the API behind them, and the earlier demo's."""
