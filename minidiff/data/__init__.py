"""What models learn from: `fashion` and `emoji` (shipped, real), `folder` (your own images), `toy` (exact densities),
`toybox` (clips of a world of shapes, rendered when asked for, with exact truth), `stamps` (a colouring book).

Every `load` returns float32 images of shape (N, C, H, W) with values in [-1, 1].
"""
