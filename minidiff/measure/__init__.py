"""Numbers about samples. Feature functions are passed in: nothing here trains or loads a network.

`frechet` how far two sets are apart, `neighbours` precision, recall and nearest images, `modes` toy mixtures; of clips,
`tracks` what is seen, `motion` by which law it moves, `adherence` how far it is what was asked (they know the Toybox).
"""
