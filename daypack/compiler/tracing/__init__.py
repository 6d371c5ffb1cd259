"""The parts of `trace.py`: the walk over jaxprs, and the primitives that it replaces."""
