"""A bundle decides a page: no HTTP, no PyTorch."""
