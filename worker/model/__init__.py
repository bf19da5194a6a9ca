"""From a model's name to activations: files, tokenizer windows, and the truncated forward pass."""
