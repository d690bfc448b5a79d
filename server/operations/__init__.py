"""Running the server: health, metrics, request context, drain."""
