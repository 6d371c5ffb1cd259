"""The command line: parse, call, print."""


def main() -> int:
    """Not written yet."""
    return 2
