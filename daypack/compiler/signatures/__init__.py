"""What every operation takes, carries as attributes, and gives: the table that `verify.py` checks graphs
against."""
