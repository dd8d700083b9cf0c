#!/usr/bin/env python3
"""Train a style transfer network from one style image, or a super-resolution model.

python train.py --style starry.jpg --dataset photos/
python train.py --style starry.jpg --dataset coco --out starry.safetensors
python train.py --task super-resolution --factor 4 --dataset photos/
python train.py --help
"""

from fast_nst.cli.main import entry

if __name__ == "__main__":
    entry("fast_nst.cli.train")
