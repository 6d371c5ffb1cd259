"""Token ids of the engine against the `tokenizers` library."""
