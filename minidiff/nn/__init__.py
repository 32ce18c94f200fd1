"""Networks, under one contract: `net(x, ell, cond) -> y`. They see no schedule, and import none of the maths."""
