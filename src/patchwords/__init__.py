"""Vision Transformers: train, look inside, compare and ship."""
