"""A bundle's training against the jitted JAX step of the same spec, from the same start and data."""
