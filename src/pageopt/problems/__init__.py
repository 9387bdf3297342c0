"""What a page is about, one module a page problem: how it is logged, requested, encoded and shown."""
