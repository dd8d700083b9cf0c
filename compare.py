#!/usr/bin/env python3
"""Compare a trained style with the optimizer: speed and loss, in one run.

python compare.py --style starry-night --content photos/ --sizes 256 512 1024
python compare.py --style starry-night --content photo.jpg --sizes 256 --iterations 100
python compare.py --help
"""

from fast_nst.cli.main import entry

if __name__ == "__main__":
    entry("fast_nst.cli.compare")
