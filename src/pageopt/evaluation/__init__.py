"""What a policy would earn: off-policy estimators, ranking metrics, power."""
