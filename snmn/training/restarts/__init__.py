"""Several runs of one experiment with different seeds: train.py --restarts."""
