#!/usr/bin/env python3
"""Measure a trained style against the optimizer: speed and loss, in one run.

python compare.py --style starry-night --content photos/ --sizes 256 512 1024
python compare.py --style starry-night --content photo.jpg --sizes 256 --iterations 100
python compare.py --help
"""

import sys

from fast_nst.cli.compare import main

if __name__ == "__main__":
    sys.exit(main())
