"""The codebook: what benign and attacking texts look like in the model's activations."""
