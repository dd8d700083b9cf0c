#!/usr/bin/env python3
"""Stylize images, videos and the webcam with a trained style.

python stylize.py photo.jpg --style starry-night
python stylize.py clip.mp4 --style the-great-wave
python stylize.py 0 --style the-scream
python stylize.py holiday/ --style my-style.safetensors --out stylized/
python stylize.py --help
"""

from fast_nst.cli.main import entry

if __name__ == "__main__":
    entry("fast_nst.cli.stylize")
