"""The demo town and the simulated phones: a town as data, written once into an empty installation, and phones that
speak HTTP to it like real ones."""
