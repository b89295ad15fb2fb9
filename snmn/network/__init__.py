"""The network: section 3 of the paper."""
