"""Where logs come from: our simulated shop, the Open Bandit Dataset, or the user's own Parquet tables."""
