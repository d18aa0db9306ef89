"""A discrete-event simulation of clusters that share blobs (bench/simulate.py)."""
