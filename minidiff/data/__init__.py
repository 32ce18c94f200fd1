"""What models learn from: `fashion` and `emoji` (shipped, real), `folder` (your own images), `toy` (exact densities).

Every `load` returns float32 images of shape (N, C, H, W) with values in [-1, 1].
"""
