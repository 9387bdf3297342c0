"""What every page problem trains with: loop, losses, averaging, checkpoints, embeddings of fields."""
