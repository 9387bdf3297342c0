"""The DVC stages: each reads files and params and writes files, and has no other effect."""
