"""The command line: parse, call, print. No logic."""

from daypack.cli.app import main

__all__ = ["main"]
