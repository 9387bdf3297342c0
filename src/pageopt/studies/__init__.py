"""What people run to learn; never on the path of a release."""
