"""One question's way through the network, and pictures of it."""
