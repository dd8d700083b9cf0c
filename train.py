#!/usr/bin/env python3
"""Train a style network from one painting, or a network that enlarges pictures.

python train.py --style starry.jpg --dataset photos/
python train.py --style starry.jpg --dataset coco --out starry.safetensors
python train.py --task super-resolution --factor 4 --dataset photos/
python train.py --help
"""

import sys

from fast_nst.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
