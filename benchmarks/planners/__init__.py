"""Planners on problems of known difficulty: cost, feasibility, time, layout."""
