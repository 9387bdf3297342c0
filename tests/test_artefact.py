"""Every file that one part writes and another reads has one type."""
