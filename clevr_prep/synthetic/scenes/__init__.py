"""Scenes by CLEVR's rules, and the boxes of their objects."""
