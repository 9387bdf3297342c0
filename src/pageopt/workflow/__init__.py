"""How the stages are run, what they rest on, and who holds the project."""
