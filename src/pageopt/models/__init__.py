"""The page models and their training."""
