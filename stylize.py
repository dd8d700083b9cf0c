#!/usr/bin/env python3
"""Stylize pictures with a trained style.

python stylize.py photo.jpg --style starry-night
python stylize.py holiday/ --style my-style.safetensors --out painted/
python stylize.py --help
"""

from fast_nst.cli.common import leave
from fast_nst.cli.stylize import main

if __name__ == "__main__":
    leave(main())
