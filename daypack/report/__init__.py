"""Pictures of a bundle's plan: one HTML page, one trace."""
