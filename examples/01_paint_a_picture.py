"""One picture, in memory: bytes in, bytes out. Usage: python 01_paint_a_picture.py photo.jpg painted.png"""

import sys

import numpy as np
from PIL import Image

import allaprima

source, target = sys.argv[1:]
image = np.asarray(Image.open(source).convert("RGB"))  # (H, W, 3) uint8

with allaprima.Stylizer.open("starry") as stylizer:
    stylizer.set(strength=0.8)
    Image.fromarray(stylizer.paint(image)).save(target)
    print(stylizer.report.line)
