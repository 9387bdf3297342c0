"""The paper's comparisons, each model in shops whose truth is known: worlds, cells, online tests, tables, report."""
