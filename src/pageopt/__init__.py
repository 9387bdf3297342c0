"""Decides which recommendation modules an e-commerce page shows, and in which order."""
