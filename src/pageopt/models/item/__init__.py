"""The networks of the item page: which modules, in which order."""
