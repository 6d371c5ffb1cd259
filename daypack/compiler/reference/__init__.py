"""The meaning of every operation, in numpy, written for plainness. `interpret.py` runs graphs with it."""
