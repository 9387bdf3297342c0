"""Everything that makes pages and can be compared: from the static page to the page networks."""
