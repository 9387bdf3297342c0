"""Policies that need no network: Thompson sampling and the static page."""
