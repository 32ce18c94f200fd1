"""Networks. All obey one contract, `net(x, ell, cond) -> y`: they never see a schedule, and they never import the
maths."""
