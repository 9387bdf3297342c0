"""From a trained model to a promoted one: export, gates, registry, Bento, report."""
