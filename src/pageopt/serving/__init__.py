"""The endpoint: it knows the exported graph and the encoder, and never imports PyTorch."""
