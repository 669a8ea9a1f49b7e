"""Which intensities of an image become dark and bright for a network: one rule for pretraining, training and use."""
