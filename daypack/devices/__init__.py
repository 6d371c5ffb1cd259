"""Hardware profiles: data files, each figure with its source."""
