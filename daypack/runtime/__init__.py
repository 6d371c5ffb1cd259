"""From a bundle on disk to a run: file formats, the native engine, its build and its launchers."""
