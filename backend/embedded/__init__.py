"""The private PostGIS that runs when no ``DATABASE_URL`` is given."""
