"""Fitting and measuring a codebook: from labelled texts to a file. Not needed to serve."""
