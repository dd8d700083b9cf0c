"""``python -m fast_nst`` is the command ``fast-nst``."""

from fast_nst.cli.main import entry

if __name__ == "__main__":
    entry()
